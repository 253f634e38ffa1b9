-- Vectors that group fields scale, small enough to be searched for in every way.
local function book() return random_gaussian { entries = 16, dim = 4 } end
return {
  vector {
    name = "whole", dim = 4, bits = 4, codebook = book(),
    group = { size = 8, scale = { "u6", 1, 63 } },
    decode = function (c, codebook, g) return codebook[c] * half(g.scale) * 0.03125 end,
  },
  vector {
    name = "nested", dim = 8, bits = 8, codebook = random_gaussian { entries = 256, dim = 8 },
    group = { size = 16, scale = { "u3", 0, 7 }, d = { "f16", 2^-10, 2, size = 64 } },
    decode = function (c, codebook, g) return codebook[c] * (half(g.scale) + 0.5) * g.d end,
  },
  vector {
    name = "shifted", dim = 4, bits = 4, codebook = book(),
    group = { size = 8, scale = { "u4", 1, 15 }, least = { "u4", 0, 15 } },
    decode = function (c, codebook, g)
      return codebook[c] * half(g.scale) * 0.125 + half(g.least) * 0.125
    end,
  },
}
