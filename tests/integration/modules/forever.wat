;; Runs until its fuel ends or somebody stops it.
(module
  (func (export "forever") (result i64)
    (loop (br 0))
    (unreachable)))
