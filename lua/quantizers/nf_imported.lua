-- NF4 of bitsandbytes, bit for bit (qpal import): 16 fp32 numbers, each here the sum of three
-- halves over 256, times the largest magnitude of 64 weights, whose double quantization is undone.

local nf4 = { -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534,
  0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
  0.5626170039176941, 0.7229568362236023, 1 }
local parts = { {}, {}, {} }
for i = 1, 16 do
  local rest = nf4[i] * 256
  for k, unit in ipairs { 2^-2, 2^-12, 2^-22 } do
    parts[k][i] = math.floor(rest / unit + 0.5) * unit
    rest = rest - parts[k][i]
  end
end

local function normal_floats(name, round)
  return scalar {
    name = name, bits = 4,
    codebooks = { a = values(parts[1]), b = values(parts[2]), c = values(parts[3]) },
    group = { size = 64, absmax = { "f32", 2^-14, 4 } },
    decode = function (code, m, g)
      local sum = single(m.a[code]) + single(m.b[code]) + single(m.c[code])
      return round(sum * as_single(0x3b800000) * g.absmax)    -- 2^-8
    end,
  }
end

return {
  normal_floats("nf4-g64-f32", function (x) return x end),
  normal_floats("nf4-g64-f32-bf16", round_bf16),
}
