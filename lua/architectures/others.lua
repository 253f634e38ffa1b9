-- Families with names and ways of their own, mostly larger ones.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local moe, shared, router, experts = blocks.moe, blocks.shared, blocks.router, blocks.experts
local mlp_of, number, first, join = blocks.mlp_of, blocks.number, blocks.first, blocks.join

local function qk_norms(m) return 2 * m.head_dim end

-- DeepSeek's first: experts beside plain attention.
family {
  types = { "deepseek" },
  beside = blocks.beside(blocks.beside_experts("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias, rows = m.attention_bias == 1, blocks.expert_sizes(m).rows
    return blocks.sparse(m, blocks.first_dense(m), attention(m, bias, bias),
                         function() return mlp(m, {}, false) end,
                         function()
                           return join(moe(m), shared(m, "mlp.shared_experts.",
                                                      number(m.config.n_shared_experts, 0) * rows))
                         end)
  end,
  extra = function(m) return { dense = 2 * m.hidden, sparse = 2 * m.hidden + router(m) } end,
}

-- Ling and Ring; q|k|v one behind another (modeling_bailing_moe.py of inclusionAI/Ming).
family {
  types = { "bailing_moe", "bailing_moe_v2" },
  beside = blocks.beside(blocks.beside_experts("mlp.gate")),
  prefix = "model.", embedding = "model.word_embeddings", head = "lm_head",
  block = function(m)
    local c, q, kv = m.config, m.heads * m.head_dim, m.kv_heads * m.head_dim
    local rows = blocks.expert_sizes(m).rows
    local own = {
      blocks.qkv(linear("qkv", "qkv", "attention.query_key_value", q + 2 * kv, m.hidden,
                        c.use_qkv_bias and true or false), m),
      linear("o", "o", "attention.dense", m.hidden, q, c.use_bias and true or false),
    }
    return blocks.sparse(m, blocks.first_dense(m), own, function() return mlp(m, {}, false) end,
                         function()
                           return join(moe(m), shared(m, "mlp.shared_experts.",
                                                      number(c.num_shared_experts, 0) * rows))
                         end)
  end,
  extra = function(m)
    local all = 2 * m.hidden + (m.config.use_qk_norm and qk_norms(m) or 0)
    return { dense = all, sparse = all + router(m, true) }
  end,
}

-- Arctic: experts and, beside them, a small MLP for every token.
family {
  types = { "arctic" },
  beside = blocks.beside(blocks.beside_experts("block_sparse_moe.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local step = number(m.config.moe_layer_frequency, 2)
    local w = { gate = "w1", up = "w3", down = "w2" }
    local path = "block_sparse_moe"
    return blocks.sparse(m, function(i) return (i + 1) % step ~= 0 end,
                         attention(m, false, false),
                         function() return mlp_of(m, {}, path .. ".mlp.", m.intermediate,
                                                  { names = w }) end,
                         function()
                           return join(moe(m, { path = path, gate = "w1", up = "w3", down = "w2" }),
                                       shared(m, "residual_mlp.", m.hidden, { names = w }))
                         end)
  end,
  extra = function(m) return { dense = 2 * m.hidden, sparse = 4 * m.hidden + router(m) } end,
}

family {
  types = { "grok-1", "grok" },
  names = { vocab = "vocab_size" },
  defaults = { tied = 1 },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local s = blocks.expert_sizes(m)
    local q, kv = m.heads * m.head_dim, m.kv_heads * m.head_dim
    return experts(m, {
      linear("q", "qkv", "attn.q_proj", q, m.hidden),
      linear("k", "qkv", "attn.k_proj", kv, m.hidden),
      linear("v", "qkv", "attn.v_proj", kv, m.hidden),
      linear("o", "o", "attn.o_proj", m.hidden, q),
    }, { path = "moe_block", gate = "linear", up = "linear_v", down = "linear_1", rows = s.rows,
         experts = s.experts, active = s.active })
  end,
  extra = function(m) return 4 * m.hidden + router(m) end,
}

-- LongCat Flash: two attentions and two MLPs a layer, experts beside; some experts do nothing.
family {
  types = { "longcat_flash" },
  names = { layers = "num_layers", intermediate = "ffn_hidden_size" },
  beside = { "input_layernorm.0", "input_layernorm.1", "post_attention_layernorm.0",
             "post_attention_layernorm.1", "mlp.router.classifier",
             { of = "q_a", "self_attn.0.q_a_layernorm", "self_attn.1.q_a_layernorm" },
             { of = "kv_a", "self_attn.0.kv_a_layernorm", "self_attn.1.kv_a_layernorm" } },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, list = m.config, {}
    for i = 0, 1 do
      local twin = join(blocks.mla(m), mlp_of(m, {}, ("mlps.%d."):format(i), m.intermediate))
      for _, l in ipairs(twin) do
        l.tensor = l.tensor:gsub("^self_attn%.", ("self_attn.%d."):format(i))
        if i == 1 then l.role, l.group = l.role .. "_2", l.group .. "_2" end
        table.insert(list, l)
      end
    end
    return join(list, moe(m, { rows = number(c.expert_ffn_hidden_size, 2048) }))
  end,
  extra = function(m)
    local all = number(m.config.n_routed_experts, 512) + number(m.config.zero_expert_num, 256)
    return 4 * m.hidden + 2 * blocks.mla_extra(m) + all * m.hidden + all
  end,
}

-- Llama-Nemotron, pruned block by block: heads of keys and widths of MLPs differ, or are left out.
local function nas_rows(m, ffn)
  if number(ffn.intermediate_size) then return ffn.intermediate_size end
  local rows = math.floor(2 * ffn.ffn_mult * m.hidden / 3)
  return (rows + 255) // 256 * 256
end
family {
  types = { "nemotron-nas", "deci", "decilm" },
  defaults = { intermediate = 1 },
  beside = { { of = "q", "input_layernorm" }, { of = "up", "post_attention_layernorm" } },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local layers, kind = {}, {}
    for i, b in ipairs(m.config.block_configs or {}) do
      local list, a, f = {}, b.attention or {}, b.ffn or {}
      local group = number(a.n_heads_in_group, 1)
      if not a.no_op and not a.replace_with_linear then
        list = attention({ heads = m.heads, kv_heads = m.heads // group, head_dim = m.head_dim,
                           hidden = m.hidden }, false, false)
      elseif a.replace_with_linear then
        list[1] = linear("o", "o", "self_attn.linear_attn", m.hidden, m.hidden)
      end
      if not f.no_op and not f.replace_with_linear then
        mlp({ intermediate = nas_rows(m, f), hidden = m.hidden }, list, false)
      elseif f.replace_with_linear then
        table.insert(list, linear("down", "down", "mlp.linear_mlp", m.hidden, m.hidden))
      end
      local name = "b" .. #list .. "_" .. (list[2] and list[2].rows or 0) .. "_"
        .. (list[#list] and list[#list].columns or 0)
      layers[i], kind[name] = name, list
    end
    return { layers = layers, kind = kind }
  end,
  extra = function(m) return 2 * m.hidden end,
}

-- Gemma 3n: four streams of states, an embedding for every layer, narrow detours; the last layers
-- take keys and values of earlier ones.
family {
  types = { "gemma3n_text" },
  names = { intermediate = "intermediate_size.1" },
  defaults = { tied = 1, head_dim = 256 },
  beside = blocks.beside("pre_feedforward_layernorm", "post_feedforward_layernorm",
                         "post_per_layer_input_norm", "self_attn.q_norm",
                         "laurel.post_laurel_norm", "altup.router_norm", "altup.modality_router"),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local shared_from = m.layers - number(c.num_kv_shared_layers, 15)
    local narrow, rank = number(c.hidden_size_per_layer_input, 256), number(c.laurel_rank, 64)
    local rows = type(c.intermediate_size) == "table" and c.intermediate_size or {}
    local layers, kind = {}, {}
    for i = 0, m.layers - 1 do
      local list, f = attention(m, false, false), number(rows[i + 1], m.intermediate)
      if i >= shared_from then list = { list[1], list[4] } end
      mlp({ intermediate = f, hidden = m.hidden }, list, false)
      table.insert(list, linear("layer_gate", "layer_gate", "per_layer_input_gate", narrow,
                                m.hidden))
      table.insert(list, linear("layer_out", "layer_out", "per_layer_projection", m.hidden, narrow))
      table.insert(list, linear("laurel_in", "laurel_in", "laurel.linear_left", rank, m.hidden))
      table.insert(list, linear("laurel_out", "laurel_out", "laurel.linear_right", m.hidden, rank))
      local name = (i >= shared_from and "shared_" or "own_") .. f
      layers[i + 1], kind[name] = name, list
    end
    return { layers = layers, kind = kind }
  end,
  extra = function(m)
    local n = number(m.config.altup_num_inputs, 4)
    return 4 * m.hidden + 2 * m.head_dim + m.hidden + n * n + n * n * n + n * m.hidden + m.hidden
      + m.hidden + m.hidden
  end,
  once = function(m)
    local c, h = m.config, m.hidden
    local narrow = number(c.hidden_size_per_layer_input, 256)
    return h + number(c.vocab_size_per_layer_input, 262144) * m.layers * narrow
      + m.layers * narrow * h + narrow + 2 * (number(c.altup_num_inputs, 4) - 1) * h * h
  end,
}
family {
  types = { "gemma3n" },
  of = "gemma3n_text",
  prefix = "model.language_model.", head = "lm_head",
  passed = function()
    return { weights = 980000000, what = "towers for images and sound (about 0.98 G)" }
  end,
}
