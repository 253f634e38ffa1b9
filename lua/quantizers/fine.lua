-- A codebook plus a computed fine part: the published trellis code with 16 x 16 points inside each
-- codebook cell. Shows how a decode puts looked-up and computed parts together.

local palette = {}
for rate = 3, 5 do
  palette[#palette + 1] = trellis {
    name = ("fine-%d"):format(rate),
    window = 16,
    dim = 2,
    step = 2 * rate,
    codebook = gaussian_kmeans { entries = 512, dim = 2, seed = 1 },
    decode = function (s, codebook)
      local h, g = s * s + s, s * 0x16b52
      local pair = flip_sign(codebook[h >> 6 & 511], 1, h >> 15 & 1)
      -- The fp16 numbers 1024 + 0..15, twice.
      local point = as_pair(0x64006400 | g >> 9 & 15 | (g >> 13 & 15) << 16)
      return fma(point - 1031, 1 / 128, pair)
    end,
  }
end
return palette
