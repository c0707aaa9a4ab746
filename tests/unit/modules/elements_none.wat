;; A segment of nothing, in a table with elements that are not set.
(module
  (type $none (func))
  (table 3 funcref)
  (elem (i32.const 0))
  (func (export "call") (param i32) local.get 0 call_indirect (type $none)))
