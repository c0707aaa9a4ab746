;; Exports whose names do not fit a path as they are.
(module
  (memory 1 1)
  (func (export "") (result i64) (i64.const 10))
  (func (export ":0") (result i64) (i64.const 11))
  (func (export "a/b") (result i64) (i64.const 12))
  (func (export "..") (result i64) (i64.const 13))
  (func (export "n234567890123456789012345678901234567890123456789012345678901234") (result i64) (i64.const 14))
  (func (export "\c3\a4 %?") (result i64) (i64.const 15))
  (export "memory" (memory 0))
  (func (export "twice") (param i32) (result i32) (i32.mul (i32.const 2) (local.get 0))))
