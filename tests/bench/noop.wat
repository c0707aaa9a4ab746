;; The smallest function: what a call costs by itself.
(module
  (func (export "noop")))
