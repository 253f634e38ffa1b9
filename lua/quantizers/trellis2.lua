-- Trellis codes for pairs, better than the published one at no or lower decode cost.
-- lin: a linear hash into 1024 free pairs, one multiplication less. fine: the published code with a computed
-- fine part of 16 x 16 points inside each codebook cell.

local palette = {}
for half_bits = 3, 10 do
  local rate = half_bits / 2
  palette[#palette + 1] = trellis {
    name = ("lin-%g"):format(rate),
    window = 16,
    dim = 2,
    step = half_bits,
    codebook = random_gaussian { entries = 1024, dim = 2, seed = 7 },
    decode = function (s, codebook)
      return codebook[s * 0x9e36 + 0x3a5c7 >> 7 & 1023]
    end,
  }
  palette[#palette + 1] = trellis {
    name = ("fine-%g"):format(rate),
    window = 16,
    dim = 2,
    step = half_bits,
    codebook = gaussian_kmeans { entries = 512, dim = 2, seed = 1 },
    decode = function (s, codebook)
      local h, g = s * s + s, s * 0x16b52
      local pair = flip_sign(codebook[h >> 6 & 511], 1, h >> 15 & 1)
      local point = as_pair(0x64006400 | g >> 9 & 15 | (g >> 13 & 15) << 16)   -- 1024 + 0..15, twice
      return fma(point - 1031, 1 / 128, pair)
    end,
  }
end
return palette
