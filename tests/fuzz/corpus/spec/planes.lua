return scalar { name = "any-3", bits = 8, planes = true, planes_read = 3,
  codebook = values { -4, -3, -2, -1, 1, 2, 3, 4, scope = "row" } }
