(module
  (import "wasmote" "millis" (func (result i64)))
  (import "env" "launch" (func (param i32)))
  (memory 1))
