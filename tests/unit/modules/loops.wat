;; What costs fuel.
(module
  (import "wasmote" "millis" (func $millis (result i64)))
  (func $nop)
  (func (export "spin") loop br 0 end)
  (func (export "spin_if") (param i32) loop local.get 0 br_if 0 end)
  (func (export "spin_table") loop i32.const 0 br_table 0 0 end)
  (func (export "empty"))
  (func (export "turns") (param $n i32)
    loop $again local.get $n i32.const 1 i32.sub local.tee $n br_if $again end)
  (func (export "calls") (param $n i32)
    loop $again call $nop local.get $n i32.const 1 i32.sub local.tee $n br_if $again end)
  (func (export "host_calls") (param $n i32)
    loop $again call $millis drop local.get $n i32.const 1 i32.sub local.tee $n br_if $again end)
  (func (export "nested") (param $n i32) (local $m i32)
    loop $outer
      i32.const 10 local.set $m
      loop $inner local.get $m i32.const 1 i32.sub local.tee $m br_if $inner end
      local.get $n i32.const 1 i32.sub local.tee $n br_if $outer
    end)
  (func $recurse (export "recurse") (param i32) (result i32)
    local.get 0 i32.eqz if (result i32) i32.const 0
    else local.get 0 i32.const 1 i32.sub call $recurse i32.const 1 i32.add end))
