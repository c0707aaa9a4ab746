// A real MicroPython (its WebAssembly port, from npm) whose REPL is on stdin and stdout.
import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript";

const mp = await loadMicroPython({ linebuffer: false, stdout: (data) => process.stdout.write(Buffer.from(data)) });
mp.replInit();

// This port offers raw-paste mode and cannot do it, as it has no input to wait for: answer "known, but not here" instead.
const QUESTION = [0x05, 0x41, 0x01];
let asked = 0;
for await (const data of process.stdin) {
    for (const byte of data) {
        if (byte === QUESTION[asked]) {
            asked += 1;
            if (asked === QUESTION.length) {
                asked = 0;
                process.stdout.write("R\0");
            }
            continue;
        }
        for (const held of QUESTION.slice(0, asked)) {
            mp.replProcessChar(held);
        }
        asked = 0;
        mp.replProcessChar(byte);
    }
}
