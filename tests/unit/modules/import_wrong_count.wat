(module (import "wasmote" "log" (func (param i32 i32))))
