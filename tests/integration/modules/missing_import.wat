;; Asks for a function that no node has.
(module
  (import "wasmote" "teleport" (func $teleport (param i32)))
  (memory 1)
  (global (export "__heap_base") i32 (i32.const 32))
  (func (export "add") (param i32) (result i32)
    (call $teleport (local.get 0))
    (local.get 0)))
