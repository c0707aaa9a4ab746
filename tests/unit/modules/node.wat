;; What test_node.c calls: one that never ends, one that replies much, one that fails with much to say, and names that
;; differ only behind a zero byte.
(module
  (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
  (import "wasmote" "log" (func $log (param i32 i32 i32)))
  (memory 1)
  (func (export "spin") loop br 0 end)
  (func (export "logs") i32.const 2 i32.const 0 i32.const 5 call $log loop br 0 end)
  (func (export "much") i32.const 0 i32.const 900 call $output drop)
  (func (export "fails") (result i32) i32.const 0 i32.const 900 call $output drop i32.const 404)
  (func (export "traps") i32.const 0 i32.const 900 call $output drop unreachable)
  (func (export "bytes"))
  (func (export "a") (result i64) i64.const 1)
  (func (export "a\00b") (result i64) i64.const 2))
