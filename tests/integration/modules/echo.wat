;; Replies with its request, 256 bytes at a time.
(module
  (import "wasmote" "input" (func $input (param i32 i32) (result i32)))
  (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
  (memory 1)
  (func (export "echo") (result i32)
    (local $n i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.tee $n (call $input (i32.const 0) (i32.const 256)))))
        (drop (call $output (i32.const 0) (local.get $n)))
        (br $next)))
    (i32.const 0)))
