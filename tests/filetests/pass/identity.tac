; test: pass identity
; Reshapes to the same shape, slices of everything, joins of one, pools over one element go; a real slice stays.
graph g {
  %x: f32[2,3,4,4] = input
  %a: f32[2,3,4,4] = reshape(%x) shape=[2,3,4,4]
  %b: f32[2,3,4,4] = slice(%a) axes=[(2,0,4)]
  %c: f32[2,3,4,4] = concat(%b) axis=1
  %d: f32[2,3,4,4] = pool(%c) max window=[1,1]
  %e: f32[2,3,4,4] = transpose(%d) perm=[0,1,2,3]
  %f: f32[2,3,4,4] = pad(%e) pads=[(0,0),(0,0),(0,0),(0,0)] reflect
  %g: f32[2,3,4,4] = pointwise(%f) {$0}
  %h: f32[2,3,4,4] = pointwise(%g) {relu($0)}
  %i: f32[2,3,2,4] = slice(%h) axes=[(2,0,2)]
  output "y" %i
}
; expect:
graph g {
  %x: f32[2,3,4,4] = input "x"
  %h: f32[2,3,4,4] = pointwise(%x) {relu($0)}
  %i: f32[2,3,2,4] = slice(%h) axes=[(2,0,2)]
  output "y" %i
}
