;; What the sizes in docs/decisions/0001 are measured with: three exports and 2 KiB of memory.
(module
  (memory 1)
  (func $fib (export "fib") (param i32) (result i32)
    local.get 0 i32.const 2 i32.lt_u
    if (result i32) local.get 0
    else local.get 0 i32.const 1 i32.sub call $fib local.get 0 i32.const 2 i32.sub call $fib i32.add end)
  (func (export "sum") (param $p i32) (param $n i32) (result i32) (local $s i32)
    block $end
      loop $more
        local.get $n i32.eqz br_if $end
        local.get $p i32.load local.get $s i32.add local.set $s
        local.get $p i32.const 4 i32.add local.set $p
        local.get $n i32.const 1 i32.sub local.set $n
        br $more
      end
    end
    local.get $s)
  (func (export "fill") (param $p i32) (param $n i32) (param $v i32)
    local.get $p local.get $v local.get $n memory.fill))
