; test: pass identity
; An output must be a value that a node computes, so this identity stays.
graph g {
  %x: f32[2] = input
  %y: f32[2] = pointwise(%x) {$0}
  output "y" %y
}
; expect:
graph g {
  %x: f32[2] = input "x"
  %y: f32[2] = pointwise(%x) {$0}
  output "y" %y
}
