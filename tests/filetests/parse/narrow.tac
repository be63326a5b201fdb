; test: parse
; Types that only store numbers: values by number, or by their bits where no number gives these.
graph narrow {
  %fn: f8e4m3fn[5] = const {448.0, -0.0, 0.001953125, nan, 0xff}
  %fnuz: f8e4m3fnuz[2] = const {-240.0, nan}
  %e5m2: f8e5m2[3] = const {57344.0, 0x7c, 0x7d}
  %e5m2fnuz: f8e5m2fnuz[2] = const {-57344.0, 0x80}
  %e8m0: f8e8m0[3] = const {1.0, 1.7014118346046923e38, 0xff}
  %f4: f4e2m1[3] = const {-6.0, 0.5, 0xf0}
  %i4: i4[3] = const {-8, 7, 0x0f}
  %u4: u4[2,2] = const {15, 15, 15, 15}
  %i2: i2[3] = const {-2, 1, 0x80}
  %u2: u2[20] = const seed 1
  %x: f32[5] = input
  %c: bool[5] = input
  %low: f8e4m3fn[5] = pointwise(%x) {cast($0, f8e4m3fn)}
  %chosen: f8e4m3fn[5] = pointwise(%c, %low) {select($0, $1, 448.0:f8e4m3fn)}
  %other: f8e4m3fn[5] = pointwise(%c, %chosen) {select($0, 0xff:f8e4m3fn, $1)}
  %padded: f8e4m3fn[7] = pad(%other) pads=[(1,1)] constant=-2.0:f8e4m3fn
  %y: f32[7] = pointwise(%padded) {cast($0, f32)}
  output "y" %y
}
; expect:
graph narrow {
  %x: f32[5] = input "x"
  %c: bool[5] = input "c"
  %fn: f8e4m3fn[5] = const {448.0, -0.0, 0.001953125, 0x7f, 0xff}
  %fnuz: f8e4m3fnuz[2] = const {-240.0, 0x80}
  %e5m2: f8e5m2[3] = const {57344.0, 0x7c, 0x7d}
  %e5m2fnuz: f8e5m2fnuz[2] = const {-57344.0, 0x80}
  %e8m0: f8e8m0[3] = const {1.0, 1.7014118346046923e38, 0xff}
  %f4: f4e2m1[3] = const {-6.0, 0.5, 0xf0}
  %i4: i4[3] = const {-8, 7, 0xf}
  %u4: u4[2,2] = const fill 15
  %i2: i2[3] = const {-2, 1, 0x80}
  %u2: u2[20] = const hex "0103020301000101000201020002000303010200"
  %low: f8e4m3fn[5] = pointwise(%x) {cast($0, f8e4m3fn)}
  %chosen: f8e4m3fn[5] = pointwise(%c, %low) {select($0, $1, 448.0:f8e4m3fn)}
  %other: f8e4m3fn[5] = pointwise(%c, %chosen) {select($0, 0xff:f8e4m3fn, $1)}
  %padded: f8e4m3fn[7] = pad(%other) pads=[(1,1)] constant=-2.0:f8e4m3fn
  %y: f32[7] = pointwise(%padded) {cast($0, f32)}
  output "y" %y
}
