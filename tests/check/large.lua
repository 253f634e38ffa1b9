-- SPDX-License-Identifier: MIT
-- Codes that are fp16 numbers themselves, the finite ones; a table of which shared memory holds few
-- copies.
return {
  scalar {
    name = "pass-16",
    bits = 16,
    decode = function (c)
      return as_half(select(eq(c & 0x7c00, 0x7c00), c & 0x83ff, c))
    end,
  },
  vector {
    name = "pairs-7",
    bits = 14,
    dim = 2,
    codebook = random_gaussian { entries = 16384, dim = 2 },
  },
}
