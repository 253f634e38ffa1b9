-- Quantizers whose codebooks belong to the linear, and the same with those of the file.
local list = {}
local function both(name, make)
  list[#list + 1] = make(name, "tensor")
  list[#list + 1] = make(name .. "-as-is", "spec")
end

both("additive", function (name, scope)
  return vector {
    name = name, dim = 4, bits = 8,
    codebooks = { a = gaussian_kmeans { entries = 16, dim = 4, scope = scope },
                  b = random_gaussian { entries = 16, dim = 4, seed = 2, scope = scope } },
    decode = function (c, books) return books.a[c & 15] + books.b[c >> 4] * 0.5 end,
  }
end)

list[#list + 1] = vector {
  name = "sums-of-64", dim = 8, bits = 12,
  codebooks = { a = gaussian_kmeans { entries = 64, dim = 8, scope = "tensor" },
                b = random_gaussian { entries = 64, dim = 8, seed = 2, scope = "tensor" } },
  decode = function (c, books) return books.a[c & 63] + books.b[c >> 6] * 0.5 end,
}

-- A codebook of each row beside one of the linear.
both("beside-rows", function (name, scope)
  return scalar {
    name = name, bits = 3,
    codebooks = { a = lloyd_max { entries = 8, scope = scope == "tensor" and "row" or scope },
                  b = values { 0, 0.25, scope = scope } },
    decode = function (c, books) return books.a[c] + books.b[c & 1] end,
  }
end)

-- Stages, of which the larger has more entries than a small linear has vectors.
both("stages", function (name, scope)
  return vector {
    name = name, dim = 8, bits = 24,
    codebooks = { main = random_gaussian { entries = 8192, dim = 8, scope = scope },
                  rest = random_gaussian { entries = 2048, dim = 8, seed = 2, scope = scope } },
    decode = function (c, books)
      return flip_sign(books.main[c & 8191], 3, c >> 12) * 0.75 + books.rest[c >> 13] * 0.5
    end,
  }
end)

-- A large codebook of the linear or of the file beside a small one of the linear.
for _, scope in ipairs { "tensor", "spec" } do
  list[#list + 1] = vector {
    name = "beside-" .. scope, dim = 4, bits = 15,
    codebooks = { main = random_gaussian { entries = 8192, dim = 4, scope = scope },
                  rest = random_gaussian { entries = 4, dim = 4, seed = 2, scope = "tensor" } },
    decode = function (c, books) return books.main[c & 8191] * 0.75 + books.rest[c >> 13] end,
  }
end

-- A matrix times small whole numbers (GLVQ, arXiv 2510.20984).
both("matrix", function (name, scope)
  return vector {
    name = name, dim = 2, bits = 4,
    codebook = values { dim = 2, scope = scope, 1, 0, 0, 1 },
    decode = function (c, g)
      local z = { half_signed((c & 3) * 2 - 3) * 0.5, half_signed((c >> 2) * 2 - 3) * 0.5 }
      return g[0] * z[1] + g[1] * z[2]
    end,
  }
end)

both("scaled", function (name, scope)
  return scalar {
    name = name, bits = 2,
    codebook = values { -2.2, -0.2, 0.2, 2.2, scope = scope },
    group = { size = 32, scale = { "u4", 4, 15 } },
    decode = function (c, book, g) return book[c] * half(g.scale) * 0.125 end,
  }
end)

both("path", function (name, scope)
  return trellis {
    name = name, window = 8, dim = 1, step = 2,
    codebook = random_gaussian { entries = 256, scope = scope },
  }
end)

-- Codebooks of rows: pairs of weights, and a table that is used with signs.
for _, scope in ipairs { "row", "spec" } do
  local as_is = scope == "spec" and "-as-is" or ""
  list[#list + 1] = vector {
    name = "row-pairs" .. as_is, dim = 2, bits = 4,
    codebook = random_gaussian { entries = 16, dim = 2, scope = scope },
  }
  list[#list + 1] = scalar {
    name = "row-signs" .. as_is, bits = 3,
    codebook = values { 0.3, 0.8, 1.3, 2, scope = scope },
    decode = function (c, book) return flip_sign(book[c & 3], 1, c >> 2) end,
  }
  list[#list + 1] = scalar {
    name = "row-square" .. as_is, bits = 2, codebook = lloyd_max { entries = 4, scope = scope },
    decode = function (c, book) return book[c] * book[c] - 1 end,
  }
end

-- Entries of 3, 6 and 16 numbers, of which some are in global memory.
for _, shape in ipairs { { 3, 6, 64 }, { 6, 12, 4096 }, { 16, 16, 256 }, { 8, 16, 65536 } } do
  local dim, bits, entries = table.unpack(shape)
  list[#list + 1] = vector {
    name = "wide-" .. dim, dim = dim, bits = bits,
    codebook = random_gaussian { entries = entries, dim = dim },
    decode = function (c, book) return book[c & entries - 1] end,
  }
end

list[#list + 1] = scalar {
  name = "scaled-square", bits = 2, codebook = lloyd_max { entries = 4 },
  group = { size = 32, scale = { "u4", 4, 15 } },
  decode = function (c, book, g) return (book[c] * book[c] - 1) * half(g.scale) * 0.125 end,
}

-- No sum of entries: a square.
both("square", function (name, scope)
  return scalar {
    name = name, bits = 2,
    codebook = lloyd_max { entries = 4, scope = scope },
    decode = function (c, book) return book[c] * book[c] - 1 end,
  }
end)
return list
