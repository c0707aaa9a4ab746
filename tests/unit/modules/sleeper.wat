;; All that an instance can become: memory, mutable globals of every type, a table; and a start function that shows if
;; it ran twice.
(module
  (type $unary (func (param i32) (result i32)))
  (import "wasmote" "log" (func $log (param i32 i32 i32)))
  (memory 1)
  (data (i32.const 8) "data, once")
  (table 4 funcref)
  (elem (i32.const 1) $double)
  (global $i (mut i32) (i32.const 1))
  (global $fixed i32 (i32.const 77))
  (global $l (mut i64) (i64.const 2))
  (global $f (mut f32) (f32.const 3))
  (global $d (mut f64) (f64.const 4))
  (start $s)
  (func $s
    i32.const 2 i32.const 8 i32.const 4 call $log
    i32.const 1000 global.set $i)
  (func $double (param i32) (result i32) local.get 0 i32.const 2 i32.mul)
  (func (export "twice") (param i32) (result i32) local.get 0 i32.const 1 call_indirect (type $unary))
  (func (export "set") (param i32)
    global.get $i local.get 0 i32.add global.set $i
    global.get $l local.get 0 i64.extend_i32_s i64.add global.set $l
    global.get $f local.get 0 f32.convert_i32_s f32.add global.set $f
    global.get $d local.get 0 f64.convert_i32_s f64.add global.set $d)
  (func (export "i") (result i32) global.get $i global.get $fixed i32.add)
  (func (export "l") (result i64) global.get $l)
  (func (export "f") (result i32) global.get $f i32.trunc_f32_s)
  (func (export "d") (result i32) global.get $d i32.trunc_f64_s)
  (func (export "load") (param i32) (result i32) local.get 0 i32.load)
  (func (export "store") (param i32 i32) local.get 0 local.get 1 i32.store))
