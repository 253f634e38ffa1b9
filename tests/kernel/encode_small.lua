-- Trellises small enough to be encoded in the simulator whole: { window, step, dim } of every kind
-- of split of the work.
local out = {}
for _, t in ipairs {
  {8,3,2}, {8,4,2}, {10,2,1}, {10,8,4}, {6,6,2}, {12,3,1}, {9,1,1}, {11,10,2}, {14,1,4},
  {12,6,2}, {8,2,1}, {15,5,2},
} do
  local window, step, dim = table.unpack(t)
  out[#out+1] = trellis {
    name = ("small%d-%d-%d"):format(window, step, dim), window = window, step = step, dim = dim,
    codebook = random_gaussian { entries = 64, dim = dim },
    decode = function (s, c) return c[s * 0x9e3779b1 >> 20 & 63] end,
  }
end

-- More different values than shared memory has room for, of which one weight has 32.
out[#out+1] = trellis {
  name = "levels14-6-2", window = 14, step = 6, dim = 2,
  decode = function (s)
    local h = s * 0x9e37
    return (as_pair(0x64006400 | (h & 31) << 4 | (h >> 5 & 511) << 16) - 1280) * (1 / 128)
  end,
}

-- States s and ~s decode to the same, as those of tcq do.
out[#out+1] = trellis {
  name = "mirrored12-6-2", window = 12, step = 6, dim = 2,
  codebook = random_gaussian { entries = 256, dim = 2 },
  decode = function (s, c) return c[s * s + s >> 3 & 255] end,
}

-- A codebook of the linear, of whose values nothing is known when the kernel is made.
out[#out+1] = trellis {
  name = "own10-9-2", window = 10, step = 9, dim = 2,
  codebook = random_gaussian { entries = 1024, dim = 2, scope = "tensor" },
  decode = function (s, c) return c[s * 0x9e37 & 1023] end,
}

-- As aqlm-2x8, of which the simulator has too many codes: eight weights, codes in several pieces.
out[#out+1] = vector {
  name = "pieces8", dim = 8, bits = 11,
  codebooks = {
    a = random_gaussian { entries = 256, dim = 8, scope = "tensor" },
    b = random_gaussian { entries = 8, dim = 8, seed = 2, scope = "tensor" },
  },
  decode = function (code, books) return books.a[code & 255] + books.b[code >> 8] * 0.5 end,
}

-- Eight weights in three stages, the last of which has the largest vectors, and the second so few
-- that all of them survive at first.
out[#out+1] = vector {
  name = "stages8", dim = 8, bits = 21,
  codebooks = {
    a = random_gaussian { entries = 512, dim = 8, scope = "tensor" },
    b = random_gaussian { entries = 8, dim = 8, seed = 2 },
    c = random_gaussian { entries = 512, dim = 8, seed = 3 },
  },
  decode = function (code, books)
    return books.a[code & 511] * 0.5 + books.b[code >> 9 & 7] + books.c[code >> 12] * 0.75
  end,
}

-- Four weights by one table.
out[#out+1] = vector {
  name = "four6", dim = 4, bits = 6, codebook = random_gaussian { entries = 64, dim = 4 },
  decode = function (code, codebook) return codebook[code] end,
}

-- Vectors of which 16 weights are no whole number, by one table; of three beside sparse entries.
for _, v in ipairs { {6}, {3, 1/32} } do
  out[#out+1] = vector {
    name = ("table%d-6"):format(v[1]), dim = v[1], bits = 6, sparse = v[2],
    codebook = random_gaussian { entries = 64, dim = v[1] },
    decode = function (code, codebook) return codebook[code] end,
  }
end

-- More codewords than shared memory holds before sm_80.
out[#out+1] = scalar {
  name = "far13", bits = 13, codebook = random_gaussian { entries = 8192 },
  decode = function (code, codebook) return codebook[code] end,
}

-- A scale that may be negative, so that levels fall, and levels that are not even; a last group of
-- few columns.
out[#out+1] = scalar {
  name = "falls4", bits = 2, codebook = values { dim = 1, -1, -0.25, 0.125, 0.875 },
  group = { size = 48, scale = { "f16", -4, 4 } },
  decode = function (code, codebook, group) return codebook[code] * group.scale end,
}

-- A scale and a least value of 16 columns in few bits of that of 48, in rows that end with 32.
out[#out+1] = scalar {
  name = "sizes2", bits = 2,
  group = { size = 16, scale = { "u3", 1, 7 }, least = { "u2", 0, 3 },
    d = { "f16", 2^-3, 0.5, size = 48 } },
  decode = function (code, _, g)
    return single(g.d) * (single(g.scale) * single(code) - single(g.least) * 3)
  end,
}

-- Vectors that a whole number of 16 columns scales, times a number of 48; each has two codes.
for name, sparse in pairs { ["scaled4"] = 0, ["scaled4-sparse"] = 1/32 } do
  out[#out+1] = vector {
    name = name, dim = 4, bits = 6, sparse = sparse > 0 and sparse or nil,
    codebook = random_gaussian { entries = 32, dim = 4 },
    group = { size = 16, scale = { "u2", 1, 3 }, d = { "f16", 2^-6, 4, size = 48 } },
    decode = function (code, codebook, g)
      local v, weights, scale = codebook[min(code, 63 - code)], {}, single(g.d) * single(g.scale)
      for i = 1, 4 do weights[i] = scale * single(v[i]) end
      return weights
    end,
  }
end

-- The same by a number of a row that is long.
out[#out+1] = vector {
  name = "scaled4-row", dim = 4, bits = 4, codebook = random_gaussian { entries = 16, dim = 4 },
  group = { size = 32, scale = { "u2", 1, 3 }, d = { "f16", 2^-6, 4, scope = "row" } },
  decode = function (code, codebook, g)
    local v, weights, scale = codebook[code], {}, single(g.d) * single(g.scale)
    for i = 1, 4 do weights[i] = scale * single(v[i]) end
    return weights
  end,
}
return out
