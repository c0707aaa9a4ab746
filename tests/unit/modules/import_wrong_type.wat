(module (import "wasmote" "input" (func (param i32 i64) (result i32))))
