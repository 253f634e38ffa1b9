while true do local s = ("x"):rep(100):find("a-b-c-") end
