-- NormalFloat with double quantization (QLoRA, arXiv 2305.14314): the largest magnitudes of 64
-- columns are 8-bit numbers of 256 magnitudes, of which bitsandbytes' dynamic map is the codebook,
-- times an fp32 scale for each row, plus an fp32 mean.

local nf4 = { -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534,
  0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
  0.5626170039176941, 0.7229568362236023, 1 }

-- Fractions of 0 to 6 bits behind a power of ten: the signed dynamic map of 8 bits.
local map = { 0, 1 }
for i = 0, 6 do
  local n = 1 << i
  for k = 1, n do
    local middle = 0.1 + 0.9 * (k - 0.5) / n
    map[#map + 1] = middle * 10 ^ (i - 6)
    map[#map + 1] = -middle * 10 ^ (i - 6)
  end
end
table.sort(map)

return scalar {
  name = "nf4-g64-dq", bits = 4,
  codebooks = { nf4 = values(nf4), map = values(map) },
  group = {
    size = 64,
    absmax = { "u8", 0, #map - 1 },
    scale = { "f32", 2 ^ -6, 8, scope = "row" },
    mean = { "f32", 2 ^ -6, 8, scope = "row" },
  },
  decode = function (code, books, group)
    return books.nf4[code] * fma(group.scale, books.map[group.absmax], group.mean)
  end,
}
