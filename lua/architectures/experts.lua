-- Decoders with routed experts.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local experts, mlp_of, sparse = blocks.experts, blocks.mlp_of, blocks.sparse
local number, first, join, contains = blocks.number, blocks.first, blocks.join, blocks.contains

-- Experts' numbers in every spelling: how many there are, how many a token uses, their width.
local function sizes(m)
  local c = m.config
  return {
    experts = first(c, { "num_local_experts", "num_experts", "n_routed_experts",
                         "moe_num_experts" }, 8),
    active = first(c, { "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k",
                        "top_k_experts", "moe_top_k", "num_selected_experts" }, 2),
    rows = first(c, { "moe_intermediate_size", "expert_intermediate_size" }, m.intermediate),
  }
end
blocks.expert_sizes = sizes

-- A router stays as it is: a score an expert, and with 'bias' a correction beside it.
local function router(m, bias)
  local e = sizes(m).experts
  return e * m.hidden + (bias and e or 0)
end
blocks.router = router

local whole = { gate_up = "mlp.experts.gate_up_proj", down = "mlp.experts.down_proj" }
blocks.whole_experts = whole

local function moe(m, o)
  o = o or {}
  local s = sizes(m)
  return experts(m, {}, {
    path = o.path or "mlp", gate = o.gate, up = o.up, down = o.down, rows = o.rows or s.rows,
    experts = s.experts, active = s.active, stack = o.stack or whole, transposed = o.transposed,
    interleaved = o.interleaved, bias = o.bias,
  })
end
blocks.moe = moe

-- Experts that every token goes through, beside the routed ones: one MLP of their joint width.
local function shared(m, path, rows, o)
  if not rows or rows <= 0 then return {} end
  o = o or {}
  o.role = "shared_"
  return mlp_of(m, {}, path, rows, o)
end
blocks.shared = shared

local function qk_norms(m) return 2 * m.head_dim end
local function wide_norms(m) return (m.heads + m.kv_heads) * m.head_dim end

-- ---- Mixtral's names: w1 the gate, w3 up, w2 down ----

-- Names of llama.cpp for them.
local function gguf_experts(path, names, router_name, more)
  local all = {
    ffn_gate_exps = path .. ".experts.*." .. names.gate,
    ffn_up_exps = path .. ".experts.*." .. names.up,
    ffn_down_exps = path .. ".experts.*." .. names.down, ffn_gate_inp = path .. "." .. router_name,
  }
  for there, here in pairs(more or {}) do all[there] = here end
  return blocks.gguf_block(all)
end
local usual = { gate = "gate_proj", up = "up_proj", down = "down_proj" }

local w = { path = "block_sparse_moe", gate = "w1", up = "w3", down = "w2" }
family {
  types = { "mixtral" },
  prefix = "model.", head = "lm_head",
  block = function(m) return join(attention(m, false, false), moe(m, w)) end,
  extra = function(m) return 2 * m.hidden + router(m) end,
  gguf = { architecture = "llama", experts = true, reorders = blocks.reordered,
           model = blocks.gguf_model, block = gguf_experts("block_sparse_moe", w, "gate") },
}
family {
  types = { "minimax_m2" },
  prefix = "model.", head = "lm_head",
  block = function(m) return join(attention(m, false, false), moe(m, w)) end,
  extra = function(m)
    return 2 * m.hidden + router(m, true) + (m.config.use_qk_norm ~= false and wide_norms(m) or 0)
  end,
}
family {
  types = { "phimoe" },
  defaults = { attention_bias = 1 },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), moe(m, w))
  end,
  extra = function(m) return 4 * m.hidden + router(m) end,
  once = function(m) return 2 * m.hidden + (m.config.lm_head_bias and m.vocab or 0) end,
}

-- ---- Qwen's names ----

-- Layer i (from 0) of Qwen2-MoE and Qwen3-MoE is dense where the config lists it, or not every
-- layer is sparse.
local function qwen_dense(m)
  local c = m.config
  local step = number(c.decoder_sparse_step, 1)
  return function(i)
    return contains(c.mlp_only_layers, i) or (step > 1 and (i + 1) % step ~= 0)
      or first(c, { "num_experts", "num_local_experts" }, 1) == 0
  end
end
blocks.qwen_dense = qwen_dense

local function by_kind(dense, sparse_more)
  return function(m)
    local d = dense(m)
    return { dense = d, sparse = d + sparse_more(m) }
  end
end

local function qwen3_moe(o)
  return {
    block = function(m)
      local bias = m.attention_bias == 1
      return sparse(m, qwen_dense(m), attention(m, bias, bias),
                    function() return mlp(m, {}, false) end,
                    function() return moe(m, o) end)
    end,
    extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end, router),
  }
end
local qwen3 = qwen3_moe()
family {
  types = { "qwen3_moe" },
  prefix = "model.", head = "lm_head",
  block = qwen3.block, extra = qwen3.extra,
  gguf = { architecture = "qwen3moe", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "gate") },
}
local vl = qwen3_moe { transposed = true }
family { -- of Qwen3-VL; experts lie as [in, out]
  types = { "qwen3_vl_moe_text" },
  defaults = { head_dim = 128 },
  prefix = "model.language_model.", head = "lm_head",
  block = vl.block, extra = vl.extra,
}
family {
  types = { "qwen2_moe" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    return sparse(m, qwen_dense(m), attention(m, m.config.qkv_bias ~= false, false),
                  function() return mlp(m, {}, false) end,
                  function()
                    return join(moe(m), shared(m, "mlp.shared_expert.",
                                               number(m.config.shared_expert_intermediate_size)))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden end,
                  function(m) return router(m) + m.hidden end),
  gguf = { architecture = "qwen2moe", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "gate", {
             ffn_gate_shexp = "mlp.shared_expert.gate_proj",
             ffn_up_shexp = "mlp.shared_expert.up_proj",
             ffn_down_shexp = "mlp.shared_expert.down_proj",
             ffn_gate_inp_shexp = "mlp.shared_expert_gate",
           }) },
}
family {
  types = { "olmoe", "flex_olmo" },
  gguf = { architecture = "olmoe", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "gate") },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), moe(m))
  end,
  extra = function(m) return 2 * m.hidden + wide_norms(m) + router(m) end,
}

-- ---- DeepSeek's and those of its kind: first dense layers, shared experts ----

local function first_dense(m)
  local c = m.config
  local k = first(c, { "first_k_dense_replace", "num_dense_layers" }, 0)
  local step = number(c.moe_layer_freq, 1)
  local types = c.mlp_layer_types
  return function(i)
    if type(types) == "table" then return types[i + 1] == "dense" end
    return i < k or (step > 1 and i % step ~= 0)
  end
end
blocks.first_dense = first_dense

local function shared_rows(m)
  return number(m.config.n_shared_experts, number(m.config.num_shared_experts, 0)) * sizes(m).rows
end

local function deepseek(types, o)
  o = o or {}
  family {
    types = types, names = o.names, defaults = o.defaults,
    prefix = "model.", head = "lm_head", gguf = o.gguf,
    block = function(m)
      return sparse(m, first_dense(m), o.attention(m),
                    function() return mlp(m, {}, false) end,
                    function() return join(moe(m), shared(m, "mlp.shared_experts.", shared_rows(m)))
                    end)
    end,
    extra = by_kind(function(m) return 2 * m.hidden + o.extra(m) end,
                    function(m) return router(m, o.corrected ~= false) end),
  }
end
deepseek({ "deepseek_v2" }, { attention = blocks.mla, extra = blocks.mla_extra, corrected = false })
deepseek({ "deepseek_v3", "kimi_k2", "glm4_moe_lite" },
         { attention = blocks.mla, extra = blocks.mla_extra })

local function indexer(m)
  return { heads = number(m.config.index_n_heads, 64), dim = number(m.config.index_head_dim, 128) }
end
deepseek({ "deepseek_v32" }, {
  attention = function(m) return blocks.mla(m, indexer(m)) end,
  extra = function(m) return blocks.mla_extra(m, indexer(m)) end,
})

-- Only layers that are "full" have an indexer of their own; the others take an earlier one's choice.
local function owns_indexer(m)
  local c = m.config
  local freq, offset = number(c.index_topk_freq, 1), number(c.index_skip_topk_offset, 0)
  return function(i)
    if type(c.indexer_types) == "table" then return c.indexer_types[i + 1] == "full" end
    return i < offset or freq <= 1 or (i - offset) % freq == 0
  end
end
family {
  types = { "glm_moe_dsa" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local dense, owns = first_dense(m), owns_indexer(m)
    local function kind(own, rest) return join(blocks.mla(m, own and indexer(m) or nil), rest) end
    local d = mlp(m, {}, false)
    local s = join(moe(m), shared(m, "mlp.shared_experts.", shared_rows(m)))
    return {
      layers = blocks.layers(m, function(i)
        return (dense(i) and "dense" or "sparse") .. (owns(i) and "_index" or "")
      end),
      kind = { dense = kind(false, d), sparse = kind(false, s), dense_index = kind(true, d),
               sparse_index = kind(true, s) },
    }
  end,
  extra = function(m)
    local plain = 2 * m.hidden + blocks.mla_extra(m)
    local own = 2 * m.hidden + blocks.mla_extra(m, indexer(m))
    return { dense = plain, sparse = plain + router(m, true), dense_index = own,
             sparse_index = own + router(m, true) }
  end,
}

local function heads_with_norms(m)
  local bias = m.attention_bias == 1
  return attention(m, bias, false)
end
-- Norms of q and k: where the config asks for them.
deepseek({ "glm4_moe", "glm4v_moe_text" }, {
  attention = heads_with_norms,
  extra = function(m) return m.config.use_qk_norm and qk_norms(m) or 0 end,
})
deepseek({ "dots1" }, { attention = heads_with_norms, extra = qk_norms })
deepseek({ "solar_open" }, {
  defaults = { intermediate = 1 }, attention = heads_with_norms, extra = function() return 0 end,
})
deepseek({ "exaone_moe" }, { attention = heads_with_norms, extra = qk_norms })

-- Ernie: its own spellings, one run of sparse layers.
family {
  types = { "ernie4_5_moe" },
  defaults = { tied = 1 },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local from, to = number(c.moe_layer_start_index, 1), number(c.moe_layer_end_index, -1)
    if to < 0 then to = m.layers - 1 end
    local bias, step = c.use_bias and true or false, number(c.moe_layer_interval, 1)
    return sparse(m, function(i) return i < from or i > to or (i + 1) % step ~= 0 end,
                  attention(m, bias, bias), function() return mlp(m, {}, bias) end,
                  function()
                    return join(moe(m), shared(m, "mlp.shared_experts.",
                                               number(c.moe_num_shared_experts, 0) * sizes(m).rows))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden end, function(m) return router(m, true) end),
}
family {
  types = { "hunyuan_v1_moe", "hunyuan" },
  defaults = { tied = 1 },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), moe(m, { rows = m.intermediate }),
                shared(m, "mlp.shared_mlp.", m.intermediate))
  end,
  extra = function(m) return 2 * m.hidden + qk_norms(m) + router(m) end,
}

-- DeepSeek V4: latent q, one key that is the value too, compressed keys in most layers.  The first
-- half of the output's projection (wo_a) is no linear: each of its groups of rows reads its own
-- part of the input; it stays as it is.
local function v4_kind(m, i)
  local list, types = m.config.compress_ratios, m.config.layer_types
  local by_type = { compressed_sparse_attention = 4, heavily_compressed_attention = 128 }
  local r = type(list) == "table" and number(list[i + 1], 0)
    or type(types) == "table" and by_type[types[i + 1]] or 0
  return r == 0 and "window" or r == 4 and "indexed" or "compressed"
end
local function v4_block(m, kind)
  local c, h, d = m.config, m.hidden, m.head_dim
  local q, dim = number(c.q_lora_rank, 1024), number(c.index_head_dim, 128)
  local index = kind == "indexed"
  local list = {
    linear("q_a", "qkv_a", "attn.wq_a", q, h), linear("kv", "qkv_a", "attn.wkv", d, h),
  }
  local function add(...) table.insert(list, linear(...)) end
  if kind ~= "window" then
    local rows = (index and 2 or 1) * d
    add("compress_kv", "qkv_a", "attn.compressor.wkv", rows, h)
    add("compress_gate", "qkv_a", "attn.compressor.wgate", rows, h)
  end
  if index then
    add("index_kv", "qkv_a", "attn.indexer.compressor.wkv", 2 * dim, h)
    add("index_gate", "qkv_a", "attn.indexer.compressor.wgate", 2 * dim, h)
  end
  add("q_b", "q_b", "attn.wq_b", m.heads * d, q)
  if index then
    add("index_q", "q_b", "attn.indexer.wq_b", number(c.index_n_heads, 64) * dim, q)
  end
  add("o", "o", "attn.wo_b", h, number(c.o_groups, 8) * number(c.o_lora_rank, 1024))
  return list
end
family {
  types = { "deepseek_v4" },
  names = { intermediate = "moe_intermediate_size" },
  prefix = "", embedding = "embed", head = "head",
  block = function(m)
    local names = { gate = "w1", up = "w3", down = "w2" }
    local rest = join(moe(m, { path = "ffn", gate = "w1", up = "w3", down = "w2" }),
                      shared(m, "ffn.shared_experts.",
                             number(m.config.n_shared_experts, 1) * sizes(m).rows,
                             { names = names }))
    local kind = {}
    for _, k in ipairs { "window", "indexed", "compressed" } do
      kind[k] = join(v4_block(m, k), rest)
    end
    return { layers = blocks.layers(m, function(i) return v4_kind(m, i) end), kind = kind }
  end,
  extra = function(m)
    local c, h, d = m.config, m.hidden, m.head_dim
    local lora, mult = number(c.o_lora_rank, 1024), number(c.hc_mult, 4)
    local mixes = (2 + mult) * mult
    local all = 2 * h + number(c.q_lora_rank, 1024) + d + m.heads + router(m, true)
      + lora * m.heads * d + 2 * (mixes * mult * h + mixes + 3)
    local dim = number(c.index_head_dim, 128)
    local index = 4 * 2 * dim + dim + number(c.index_n_heads, 64) * h
    return { window = all, compressed = all + 128 * d + d,
             indexed = all + 4 * 2 * d + d + index }
  end,
  once = function(m)
    local mult = number(m.config.hc_mult, 4)
    return m.hidden + mult * mult * m.hidden + mult + 1
  end,
}

-- ---- Experts as one tensor of the checkpoint ----

family {
  types = { "gpt_oss" }, -- gate and up alternate column by column of [in, out]
  defaults = { attention_bias = 1, head_dim = 64 },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias),
                moe(m, { transposed = true, interleaved = true, bias = true }))
  end,
  extra = function(m) return 2 * m.hidden + router(m, true) + m.heads end,
  gguf = { architecture = "gpt-oss", experts = true, model = blocks.gguf_model,
           block = gguf_experts("mlp", usual, "router", {
             attn_sinks = "self_attn.sinks", post_attention_norm = "post_attention_layernorm",
           }) },
}

family {
  types = { "llama4_text" },
  names = { intermediate = "intermediate_size" },
  prefix = "language_model.model.", head = "language_model.lm_head",
  block = function(m)
    local c, bias = m.config, m.attention_bias == 1
    local step = number(c.interleave_moe_layer_step, 1)
    local path = "feed_forward."
    local function dense(i)
      if type(c.moe_layers) == "table" and #c.moe_layers > 0 then
        return not contains(c.moe_layers, i)
      end
      return (i + 1) % step ~= 0
    end
    return sparse(m, dense, attention(m, bias, bias),
                  function()
                    return mlp_of(m, {}, path, number(c.intermediate_size_mlp, m.intermediate))
                  end,
                  function()
                    local e = { gate_up = path .. "experts.gate_up_proj",
                                down = path .. "experts.down_proj" }
                    return join(moe(m, { path = "feed_forward", stack = e, transposed = true,
                                         rows = m.intermediate }),
                                shared(m, path .. "shared_expert.", m.intermediate))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden end, router),
}

family {
  types = { "dbrx" }, -- w1, v1 and w2 of all experts lie below one another; w2 is [in, out]
  names = { hidden = "d_model", layers = "n_layers", heads = "n_heads",
            kv_heads = "attn_config.kv_n_heads", intermediate = "ffn_config.ffn_hidden_size" },
  prefix = "transformer.", blocks = "blocks", embedding = "transformer.wte", head = "lm_head",
  block = function(m)
    local f, path = m.config.ffn_config, "ffn.experts.mlp."
    local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return join({
      linear("qkv", "qkv", "norm_attn_norm.attn.Wqkv", q + 2 * kv, m.hidden),
      linear("o", "o", "norm_attn_norm.attn.out_proj", m.hidden, q),
    }, experts(m, {}, {
      path = "ffn", rows = m.intermediate, gate = "w1", up = "v1", down = "w2",
      names = function(name) return "ffn.experts.*." .. name end,
      experts = number(f.moe_num_experts, 4), active = number(f.moe_top_k, 1),
      stack = { gate = path .. "w1", up = path .. "v1", down = path .. "w2" },
      down_transposed = true,
    }))
  end,
  extra = function(m) return 2 * m.hidden + number(m.config.ffn_config.moe_num_experts, 4) * m.hidden end,
}

local function granite_moe(m)
  local s, path = sizes(m), "block_sparse_moe."
  local list = experts(m, {}, {
    path = "block_sparse_moe", rows = m.intermediate, experts = s.experts, active = s.active,
    stack = { gate_up = path .. "input_linear", down = path .. "output_linear" },
  })
  local rows = number(m.config.shared_intermediate_size, 0)
  if rows > 0 then
    table.insert(list, linear("shared_gate_up", "shared up-gate", "shared_mlp.input_linear",
                              2 * rows, m.hidden))
    table.insert(list, linear("shared_down", "shared down", "shared_mlp.output_linear", m.hidden,
                              rows))
  end
  return list
end
blocks.granite_moe = granite_moe
family {
  types = { "granitemoe", "granitemoeshared" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    return join(attention(m, bias, bias), granite_moe(m))
  end,
  extra = function(m) return 2 * m.hidden + router(m) end,
}

-- Step 3.5 and 3.7: stacks of gate and up apart, a gate a head, other heads in windows.
family {
  types = { "step3p5", "step3p7" },
  defaults = { head_dim = 128 },
  names = { kv_heads = "num_attention_groups" },
  prefix = "model.", head = "lm_head",
  passed = function(m)
    local v = m.root.vision_config
    if type(v) ~= "table" then return nil end
    local h = first(v, { "hidden_size", "width" }, 1536)
    return { weights = blocks.vision(v, { projector = "none" }) + 90 * h * h + 4 * h * m.hidden,
             what = "vision tower and projector" }
  end,
  block = function(m)
    local c, s = m.config, sizes(m)
    local types, other = c.layer_types, c.attention_other_setting
    local listed = c.moe_layers_enum
    local dense = first_dense(m)
    if type(listed) == "string" then
      local set = {}
      for n in listed:gmatch("%d+") do set[math.tointeger(n)] = true end
      dense = function(i) return not set[i] end
    end
    local function heads(window)
      local q, kv = m.heads, m.kv_heads
      if window and type(other) == "table" then
        q = number(other.num_attention_heads, q)
        kv = number(other.num_attention_groups, kv)
      elseif window then
        q = number(c.num_sliding_attention_heads, q)
      end
      return attention({ heads = q, kv_heads = kv, head_dim = m.head_dim, hidden = m.hidden })
    end
    local stack = { gate = "moe.gate_proj", up = "moe.up_proj", down = "moe.down_proj" }
    local rest = {
      dense = mlp(m, {}, false),
      sparse = join(experts(m, {}, { path = "moe", rows = s.rows, experts = s.experts,
                                     active = s.active, stack = stack }),
                    shared(m, "share_expert.", first(c, { "share_expert_dim", "share_expert_dims" },
                                                     s.rows))),
    }
    local kind = {}
    for name, linears in pairs(rest) do
      kind[name] = join(heads(false), linears)
      kind[name .. "_window"] = join(heads(true), linears)
    end
    return {
      layers = blocks.layers(m, function(i)
        local window = type(types) == "table" and types[i + 1] == "sliding_attention"
        return (dense(i) and "dense" or "sparse") .. (window and "_window" or "")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local all = 2 * m.hidden + qk_norms(m) + m.heads * m.hidden
    local s = all + router(m, true)
    return { dense = all, dense_window = all, sparse = s, sparse_window = s }
  end,
}

-- MiMo V2: windows with heads of their own; values narrower than keys.
family {
  types = { "mimo_v2_flash", "mimo_v2" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local v = number(c.v_head_dim, m.head_dim)
    local pattern, freq = c.hybrid_layer_pattern, c.moe_layer_freq
    local types, mlps = c.layer_types, c.mlp_layer_types
    local function heads(window)
      local q, kv, d, dv = m.heads, m.kv_heads, m.head_dim, v
      if window then
        q = number(c.swa_num_attention_heads, q)
        kv = number(c.swa_num_key_value_heads, 2 * kv)
        d, dv = number(c.swa_head_dim, d), number(c.swa_v_head_dim, dv)
      end
      return {
        linear("q", "qkv", "self_attn.q_proj", q * d, m.hidden),
        linear("k", "qkv", "self_attn.k_proj", kv * d, m.hidden),
        linear("v", "qkv", "self_attn.v_proj", kv * dv, m.hidden),
        linear("o", "o", "self_attn.o_proj", m.hidden, q * dv),
      }
    end
    local kind = {}
    for name, rest in pairs { dense = mlp(m, {}, false), sparse = moe(m) } do
      kind[name], kind[name .. "_window"] = join(heads(false), rest), join(heads(true), rest)
    end
    return {
      layers = blocks.layers(m, function(i)
        local window = type(pattern) == "table" and pattern[i + 1] == 1
          or type(types) == "table" and types[i + 1] == "sliding_attention"
        local is_sparse = type(freq) ~= "table" or freq[i + 1] == 1
        if type(mlps) == "table" then is_sparse = mlps[i + 1] == "sparse" end
        return (is_sparse and "sparse" or "dense") .. (window and "_window" or "")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local all = 2 * m.hidden
    local s = all + router(m, true)
    return { dense = all, dense_window = all + m.heads, sparse = s, sparse_window = s + m.heads }
  end,
}

-- Mistral Large 3 and Small 4: MLA and experts in DeepSeek's names.
deepseek({ "mistral4" }, { attention = blocks.mla, extra = blocks.mla_extra, corrected = false })

-- AFMoE (Trinity): four norms, a gate on attention's output.
family {
  types = { "afmoe" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, rows = m.config, sizes(m).rows
    local a = attention(m, false, false)
    table.insert(a, 4, linear("attn_gate", "qkv", "self_attn.gate_proj", m.heads * m.head_dim,
                              m.hidden))
    return sparse(m, first_dense(m), a, function() return mlp(m, {}, false) end,
                  function()
                    return join(moe(m), shared(m, "mlp.shared_experts.",
                                               number(c.num_shared_experts, 0) * rows))
                  end)
  end,
  extra = by_kind(function(m) return 4 * m.hidden + qk_norms(m) end,
                  function(m) return router(m, true) end),
}

-- Hunyuan 3: a shared MLP as wide as one expert.
family {
  types = { "hy_v3" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    return sparse(m, first_dense(m), attention(m, false, false),
                  function() return mlp(m, {}, false) end,
                  function() return join(moe(m), shared(m, "mlp.shared_mlp.", sizes(m).rows)) end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end,
                  function(m) return router(m, true) end),
}

-- MiniMax-01 and M1: attention of linear cost in most layers.
family {
  types = { "minimax", "minimax_text_01", "minimax_m1", "MiniMaxText01", "MiniMaxM1" },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, d = m.config, m.heads * m.head_dim
    local rest = moe(m, w)
    return {
      layers = blocks.layers(m, function(i)
        local full = (type(c.attn_type_list) == "table" and c.attn_type_list[i + 1] == 1)
          or (type(c.layer_types) == "table" and c.layer_types[i + 1] == "full_attention")
        return full and "full" or "lightning"
      end),
      kind = {
        full = join(attention(m, false, false), rest),
        lightning = join({
          linear("qkv", "qkv", "self_attn.qkv_proj", 3 * d, m.hidden),
          linear("attn_gate", "qkv", "self_attn.output_gate", d, m.hidden),
          linear("o", "o", "self_attn.out_proj", m.hidden, d),
        }, rest),
      },
    }
  end,
  extra = function(m)
    local all = 2 * m.hidden + router(m)
    return { full = all, lightning = all + m.heads * m.head_dim }
  end,
}
