;; Asks for the time in each turn, which a test makes the moment of its interrupt.
(module
  (import "wasmote" "millis" (func $millis (result i64)))
  (memory 1)
  (func (export "ask") (param $n i32)
    loop $again call $millis drop local.get $n i32.const 1 i32.sub local.tee $n br_if $again end)
  (func (export "fill") (param $n i32)
    loop $again
      call $millis drop
      i32.const 0 i32.const 1 i32.const 65536 memory.fill
      local.get $n i32.const 1 i32.sub local.tee $n br_if $again
    end))
