; test: error
graph g {
  %x: f32[1,3,8,8] = input
  %w: f32[4,5,3,3] = const fill 0.5
  %y: f32[1,4,6,6] = conv(%x, %w)
}
; expect:
line 5, column 22: found conv(f32[1,3,8,8], f32[4,5,3,3]), expected operands and attributes that fit: x f32[1,3,8,8] has 3 channels, but w f32[4,5,3,3] in 1 groups takes 5
