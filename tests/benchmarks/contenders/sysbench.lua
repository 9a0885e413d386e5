-- The single-statement loads for sysbench, on the tables of pgbench -i at scale 10.
local statements = {
   select = "SELECT abalance FROM pgbench_accounts WHERE aid = ?",
   update = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = ?",
}

function thread_init()
   driver = sysbench.sql.driver()
   connection = driver:connect()
   statement = connection:prepare(statements[os.getenv("PEERS_LOAD")])
   account = statement:bind_create(sysbench.sql.type.INT)
   statement:bind_param(account)
end

function event()
   account:set(sysbench.rand.uniform(1, 1000000))
   statement:execute()
end

function thread_done()
   statement:close()
   connection:disconnect()
end
