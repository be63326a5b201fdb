; test: pass dead_code
; What no output needs goes; network inputs stay.
graph g {
  %x: f32[2] = input
  %unused: f32[3] = input
  %k: f32[2] = const {1.0, 2.0}
  %dead: f32[2] = pointwise(%x, %k) {add($0, $1)}
  %y: f32[2] = pointwise(%x) {relu($0)}
  output "y" %y
}
; expect:
graph g {
  %x: f32[2] = input "x"
  %unused: f32[3] = input "unused"
  %y: f32[2] = pointwise(%x) {relu($0)}
  output "y" %y
}
