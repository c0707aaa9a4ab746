"""The build of a platform that downloads nothing: the program (../../program.py), its binary, its upload."""

import shutil
import sys
from pathlib import Path

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()
beside = [str(Path(sys.executable).parent), env.subst("$PROJECT_DIR/.venv/bin"), env["ENV"].get("PATH", "")]
env.Replace(
    CC="arm-none-eabi-gcc",
    OBJCOPY="arm-none-eabi-objcopy",
    SIZETOOL="arm-none-eabi-size",
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    WM_BOARD=env.GetProjectOption("custom_board", env["PIOENV"]),
    UPLOADER=shutil.which("wasmote", path=":".join(beside)) or "wasmote",
    UPLOADCMD="$UPLOADER flash $WM_BOARD --image $SOURCE $UPLOADERFLAGS",
)
if env.subst("$UPLOAD_PORT"):
    env.Append(UPLOADERFLAGS=["--port", "$UPLOAD_PORT"])
if env.subst("$UPLOAD_PROTOCOL"):
    env.Append(UPLOADERFLAGS=["--method", "$UPLOAD_PROTOCOL"])

program = env.BuildProgram()
binary = env.Command(
    "$BUILD_DIR/${PROGNAME}.bin",
    program,
    env.VerboseAction("$OBJCOPY -O binary $SOURCE $TARGET", "Building $TARGET"),
)
AlwaysBuild(env.Alias("buildprog", binary))
AlwaysBuild(
    env.Alias("size", program, env.VerboseAction("$SIZETOOL -B -d $SOURCE", "Calculating size $SOURCE"))
)
AlwaysBuild(env.Alias("upload", binary, env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE")))
Default([binary, "size"])
