-- SPDX-License-Identifier: MIT
-- Codes that are fp16 numbers themselves, the finite ones.
return {
  scalar {
    name = "pass-16",
    bits = 16,
    decode = function (c)
      return as_half(select(eq(c & 0x7c00, 0x7c00), c & 0x83ff, c))
    end,
  },
}
