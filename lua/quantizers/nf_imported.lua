-- NF4 and FP4 of bitsandbytes, bit for bit (qpal import): 16 fp32 numbers, each the sum of three
-- halves over 256, times the largest magnitude of 64 weights, whose double quantization is undone.

local nf4 = { -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
  -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534,
  0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434,
  0.5626170039176941, 0.7229568362236023, 1 }
local fp4 = { 0, 0.005208333488553762, 0.6666666865348816, 1, 0.3333333432674408, 0.5,
  0.1666666716337204, 0.25 }
for i = 1, 8 do fp4[8 + i] = -fp4[i] end

local function imported(name, numbers, unit, round)
  local parts = { {}, {}, {} }
  for i = 1, 16 do
    local rest = numbers[i] * 256
    for k = 1, 3 do
      local of = unit * 2^(10 - 10 * k)
      parts[k][i] = math.floor(rest / of + 0.5) * of
      rest = rest - parts[k][i]
    end
  end
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

local function as_is(x) return x end
return {
  imported("nf4-g64-f32", nf4, 2^-2, as_is), imported("nf4-g64-f32-bf16", nf4, 2^-2, round_bf16),
  imported("fp4-g64-f32", fp4, 2^-3, as_is), imported("fp4-g64-f32-bf16", fp4, 2^-3, round_bf16),
}
