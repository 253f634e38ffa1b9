-- Integers with a scale and a zero for each group of columns (GPTQ arXiv 2210.17323, AWQ
-- 2306.00978), as packed weights of others have them (qpal import).

-- With 'side' x is not rotated, and "-act" has its columns in an order of their own (act-order).
local function integers(bits, group, side)
  local zero = { bits > 4 and "u8" or "u4", 0, 2 ^ bits - 1 }
  return scalar {
    name = ("int%d-g%d%s"):format(bits, group, side or ""),
    bits = bits,
    rotation = side and "none",
    order = side == "-act" and "sensitivity" or nil,
    group = { size = group, scale = { "f16", 0.001, 4 }, zero = zero },
    decode = function (code, _, group)
      return (half(code) - half(group.zero)) * group.scale
    end,
  }
end

-- The same with scales in BF16, whose products are rounded to BF16 (compressed-tensors).
local function in_bf16(group)
  return scalar {
    name = ("int4-g%d-bf16"):format(group),
    bits = 4,
    group = { size = group, scale = { "bf16", 0.001, 4 }, zero = { "u4", 0, 15 } },
    decode = function (code, _, group)
      return round_bf16((single(code) - single(group.zero)) * group.scale)
    end,
  }
end

return { integers(4, 128), integers(4, 64), integers(4, 32), integers(3, 128), integers(8, 128),
  integers(4, 128, "-act"), integers(4, 64, "-act"), integers(4, 32, "-act"),
  integers(3, 128, "-act"), integers(8, 128, "-act"), in_bf16(128), in_bf16(64), in_bf16(32) }
