-- NVFP4 (NVIDIA Blackwell): e2m1 numbers, an e4m3 scale for 16 columns, an fp32 one for the linear.

return scalar {
  name = "nvfp4", bits = 4,
  codebook = values { 0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6 },
  group = {
    size = 16,
    scale = { "e4m3", 2 ^ -6, 448 },
    all = { "f32", 2 ^ -12, 1, scope = "tensor" },
  },
  decode = function (code, e2m1, group) return group.all * group.scale * e2m1[code] end,
}
