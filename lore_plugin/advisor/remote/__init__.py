"""The advisor as a process of its own, for many runs with one budget.

  run: Advisor -> Remote ==== HTTP ====> Server -> Asker -> provider
         store <- Remote (feed) <======           store, ledger

A run keeps its own call policy, table and file; it only asks elsewhere. The
server holds the key, the budget and the advice of all. What others learned
arrives through the feed. While the server is away, runs go on with what they
know.

  GET  /v1/hello                      who answers, and what was spent
  GET  /v1/news?mode=subgoal&after=0  replies stored since then
  POST /v1/ask                        a question; see `wire.Question`

  curl -H "Authorization: Bearer $LORE_TOKEN" 127.0.0.1:2225/v1/hello

The token and all texts travel in clear. `wire` holds the messages, which both
sides check, `client` what runs use, `server` and `serve` the process.
"""
