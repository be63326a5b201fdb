; test: pass constant_fold
; (1, 2, 3) + 10 is known; what hangs on the input is not.
graph g {
  %x: f32[3] = input
  %a: f32[3] = const {1.0, 2.0, 3.0}
  %b: f32[] = const {10.0}
  %s: f32[3] = pointwise(%a, %b) {add($0, $1)}
  %t: f32[3,1] = reshape(%s) shape=[3,1]
  %y: f32[3,3] = pointwise(%x, %t) {mul($0, $1)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[3] = input "x"
  %t: f32[3,1] = const {11.0, 12.0, 13.0}
  %y: f32[3,3] = pointwise(%x, %t) {mul($0, $1)}
  output "y" %y
}
