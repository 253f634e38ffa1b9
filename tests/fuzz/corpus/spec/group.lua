return scalar {
  name = "int4", bits = 4,
  group = { size = 128, scale = { "f16", 0.001, 4 }, zero = { "u4", 0, 15 } },
  decode = function (code, _, group) return (half(code) - half(group.zero)) * group.scale end,
}
