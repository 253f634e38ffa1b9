-- SPDX-License-Identifier: MIT
-- Eight bits with a scale alone, and with a zero beside it.
local scale = { "f16", 0.001, 4 }
return {
  scalar {
    name = "symmetric",
    bits = 8,
    group = { size = 128, scale = scale },
    decode = function (c, _, group) return (half(c) - 128) * group.scale end,
  },
  scalar {
    name = "zero",
    bits = 8,
    group = { size = 128, scale = scale, zero = { "u8", 0, 255 } },
    decode = function (c, _, group) return (half(c) - half(group.zero)) * group.scale end,
  },
}
