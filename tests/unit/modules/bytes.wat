;; Streams: what comes in goes out, 16 bytes at a time; a status; log lines; the clock; wrong addresses.
(module
  (import "wasmote" "input" (func $input (param i32 i32) (result i32)))
  (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
  (import "wasmote" "log" (func $log (param i32 i32 i32)))
  (import "wasmote" "millis" (func $millis (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 512) "the quick brown fox jumps over the lazy dog, again and again, until the line is over eighty bytes")
  (func (export "echo") (local $n i32)
    block $end
      loop $more
        i32.const 64 i32.const 16 call $input local.tee $n i32.eqz br_if $end
        i32.const 64 local.get $n call $output drop
        br $more
      end
    end)
  (func (export "status") (param i32) (result i32) local.get 0)
  (func (export "in") (param i32 i32) (result i32) local.get 0 local.get 1 call $input)
  (func (export "out") (param i32 i32) (result i32) local.get 0 local.get 1 call $output)
  (func (export "log") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 call $log)
  (export "millis" (func $millis)))
