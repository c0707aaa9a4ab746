"""PlatformIO's part of the build (extra_scripts of platformio.ini): what CMake would compile and link, done by SCons.

CMake configures the board in the environment's build folder and answers, through its file API, which targets the image
has, which sources each, with which flags. Nothing of that is written down a second time. The platform's script then
asks for the program as it does for any project, and gets this one.

Runs inside of PlatformIO's SCons; the names env, Import and such come from there.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever started PlatformIO chose the Python
    sys.exit(f"Error: wasmote's build needs Python 3.11, this is {sys.version.split()[0]}. Try ./dev pio run")
import tomllib
from pathlib import Path

Import("env")  # type: ignore[name-defined]  # noqa: F821
from SCons.Script import Action, AlwaysBuild, SourceFileScanner  # noqa: E402

PLATFORM_ENV = env  # type: ignore[name-defined]  # noqa: F821
ROOT = Path(PLATFORM_ENV.subst("$PROJECT_DIR"))
IMAGE = "wasmote-node"


def stop(text):
    """End the build with a text that says what to do."""
    sys.stderr.write(f"Error: {text}\n")
    PLATFORM_ENV.Exit(1)


def find_tool(env, name):
    """A command of this Python, of the checkout's .venv, or in PATH."""
    folders = [Path(sys.executable).parent, ROOT / ".venv" / "bin", env["ENV"].get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(map(str, folders)))
    if found is None:
        stop(f"{name} is missing: pip install {name} into PlatformIO's Python, or ./dev setup pio")
    return found


def fetch_sources():
    """The third-party C sources, by the command that knows their pins."""
    pins = tomllib.loads((ROOT / "firmware" / "third_party.toml").read_text(encoding="utf-8"))["source"]
    folder = ROOT / "build" / "third_party"
    common = [pin for pin in pins if "ports" not in pin]
    if all((folder / f"{pin['name']}-{pin['version']}" / ".wasmote-sha256").is_file() for pin in common):
        return
    for command in ([sys.executable, "-m", "wasmote"], [ROOT / ".venv" / "bin" / "wasmote"]):
        try:
            done = subprocess.run([*map(str, command), "build", "--fetch"], cwd=ROOT, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return
    stop("the third-party C sources are missing: ./dev wasmote build --fetch")


def configure(env, board, folder):
    """Run CMake; returns its answer: (compiler, targets by id, id of the image's target)."""
    query = folder / ".cmake" / "api" / "v1" / "query" / "client-platformio"
    query.mkdir(parents=True, exist_ok=True)
    for name in ("codemodel-v2", "toolchains-v1"):
        (query / name).touch()
    command = [find_tool(env, "cmake"), "-S", ROOT / "firmware", "-B", folder, "-G", "Ninja"]
    command += [f"-DCMAKE_MAKE_PROGRAM={find_tool(env, 'ninja')}", f"-DWM_BOARD={board}"]
    command.append(f"-DPython3_EXECUTABLE={sys.executable}")
    variables = {name: str(value) for name, value in env["ENV"].items()}
    done = subprocess.run(list(map(str, command)), env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        stop(f"CMake cannot configure {board}:\n{done.stdout}{done.stderr}")
    reply = folder / ".cmake" / "api" / "v1" / "reply"
    index = json.loads(max(reply.glob("index-*.json")).read_text(encoding="utf-8"))
    answers = index["reply"]["client-platformio"]

    def read(name):
        return json.loads((reply / name).read_text(encoding="utf-8"))

    toolchains = read(answers["toolchains-v1"]["jsonFile"])["toolchains"]
    compiler = next(each["compiler"]["path"] for each in toolchains if each["language"] == "C")
    found = read(answers["codemodel-v2"]["jsonFile"])["configurations"][0]["targets"]
    targets = {each["id"]: read(each["jsonFile"]) for each in found}
    image = next(key for key, target in targets.items() if target["name"] == IMAGE)
    return compiler, targets, image


def words(fragments, role=None):
    """CMake's pieces of a command line, as arguments."""
    chosen = [each["fragment"] for each in fragments if role is None or each.get("role") == role]
    return [word for fragment in chosen for word in shlex.split(fragment)]


def run(target, source, env):
    """A step: the arguments, with the files that SCons knows filled in."""
    made = str(target[0])
    if env["WM_FRESH"]:
        Path(made).unlink(missing_ok=True)  # an archive keeps what it had
    files = [str(each) for each in source]
    command = []
    for word in env["WM_ARGUMENTS"]:
        command += files if word == "{sources}" else [made if word == "{target}" else word]
    variables = {name: str(value) for name, value in env["ENV"].items()}
    return subprocess.run(command, env=variables, check=False).returncode


def step(env, verb, target, sources, arguments, **options):
    """A file that is made by a command. It is made again when the command changes, or a file that it comes from."""
    action = Action(run, f"{verb} $TARGET", varlist=["WM_ARGUMENTS"])
    options.setdefault("WM_FRESH", False)
    return env.Command(
        str(target), [str(each) for each in sources], action, WM_ARGUMENTS=arguments, **options
    )[0]


def objects(env, target, folder, compiler):
    """The object files of a target, in CMake's order."""
    made = []
    for index, source in enumerate(target["sources"]):
        if "compileGroupIndex" not in source:
            continue
        group = target["compileGroups"][source["compileGroupIndex"]]
        flags = words(group["compileCommandFragments"])
        defines = [f"-D{each['define']}" for each in group.get("defines", [])]
        includes = group.get("includes", [])
        for each in includes:
            flags += ["-isystem" if each.get("isSystem") else "-I", each["path"]]
        file = ROOT / "firmware" / source["path"]
        node = step(
            env,
            "Compiling",
            folder / "objects" / target["name"] / f"{index:03}-{file.stem}.o",
            [file],
            [compiler, *defines, *flags, "-o", "{target}", "-c", "{sources}"],
            source_scanner=SourceFileScanner,
            CPPPATH=[each["path"] for each in includes],
        )
        # What a scanner of #include lines does not see: headers named by macros and options, and the compiler.
        named = [define.partition("=")[2].strip('"') for define in defines if "_FILE=" in define]
        named += [flags[at + 1] for at, flag in enumerate(flags) if flag == "-include"]
        env.Depends(node, [*named, compiler])
        made.append(node)
    return made


def build_program(env):
    """Instead of PlatformIO's: the image, as CMake describes it."""
    env.PrintConfiguration()
    board = env.GetProjectOption("custom_board", env["PIOENV"])
    folder = Path(env.subst("$BUILD_DIR")).resolve() / "cmake"
    fetch_sources()
    compiler, targets, image = configure(env, board, folder)
    archiver = compiler.replace("gcc", "gcc-ar") if compiler.endswith("gcc") else shutil.which("ar")
    archives = {}
    for target in targets.values():
        if target["type"] == "STATIC_LIBRARY":
            archives[target["artifacts"][0]["path"]] = step(
                env,
                "Archiving",
                folder / target["artifacts"][0]["path"],
                objects(env, target, folder, compiler),
                [archiver, "rcs", "{target}", "{sources}"],
                WM_FRESH=True,
            )
    program = targets[image]
    link = program["link"]["commandFragments"]
    libraries = words(link, "libraries")
    arguments = [compiler, *words(link, "flags"), "{sources}"]
    arguments += [str(archives[each]) if each in archives else each for each in libraries]
    parts = objects(env, program, folder, compiler)
    made = step(env, "Linking", env.subst("$PROGPATH"), parts, [*arguments, "-o", "{target}"])
    env.Depends(made, [archives[each] for each in libraries if each in archives])
    scripts = [word.removeprefix("-Wl,-T,") for word in arguments if word.startswith("-Wl,-T,")]
    env.Depends(made, scripts)
    env.Replace(PIOMAINPROG=[made])
    AlwaysBuild(
        env.Alias("checkprogsize", made, env.VerboseAction(env.CheckUploadSize, "Checking size $PIOMAINPROG"))
    )
    return [made]


PLATFORM_ENV.AddMethod(build_program, "BuildProgram")
