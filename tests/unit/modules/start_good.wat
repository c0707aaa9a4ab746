(module
  (import "wasmote" "log" (func $log (param i32 i32 i32)))
  (memory 1) (data (i32.const 0) "hello")
  (global $g (mut i32) (i32.const 1))
  (start $s)
  (func $s i32.const 2 i32.const 0 i32.const 5 call $log global.get $g i32.const 41 i32.add global.set $g)
  (func (export "get") (result i32) global.get $g))
