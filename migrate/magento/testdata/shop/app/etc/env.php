<?php
return [
    'backend' => ['frontName' => 'admin'],
    'queue' => array(
        'amqp' => ['host' => 'rabbit', 'port' => '5672', 'user' => 'shop', 'password' => 's3cr$et/', 'virtualhost' => '/'],
        'consumers_wait_for_messages' => 1,
    ),
    'cron_consumers_runner' => ['cron_run' => true, 'max_messages' => 2000, 'consumers' => [], 'multiple_processes' => ['async.operations.all' => 4]],
    'db' => ['table_prefix' => 'm_', 'connection' => ['default' => ['host' => 'localhost', 'dbname' => 'shop', 'username' => 'shop', 'password' => "x"]]],
    'cache_types' => ['config' => 1, /* a comment */ 'layout' => 1], // more
];
