;; Valid, but its elements do not fit the table that it declares.
(module
  (table 2 funcref)
  (elem (i32.const 1) $f $f)
  (func $f))
