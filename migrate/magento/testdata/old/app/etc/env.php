<?php
// As older versions wrote it.
return array (
  'cron_consumers_runner' =>
  array (
    'cron_run' => false,
    'max_messages' => 0,
    'consumers' =>
    array (
      0 => 'product_action_attribute.update',
      1 => 'odd name\'s',
    ),
    'multiple_processes' => array ( 'nobody' => 3, 'product_action_attribute.update' => 1 ),
  ),
  'queue' => array ( 'consumers_wait_for_messages' => 0, 'only_spawn_when_message_available' => false ),
  'db' =>
  array (
    'table_prefix' => '',
    'connection' =>
    array (
      'default' =>
      array (
        'host' => '/run/mysqld/mysqld.sock',
        'dbname' => 'shop',
        'username' => 'sh$op',
        'password' => "with \"quotes\", \$ and \\ \n",
        'active' => '1',
        'driver_options' => array ( 1014 => false ),
        'number' => -1.5,
        'nothing' => NULL,
      ),
    ),
  ),
  'lock' => array ( 'provider' => 'cache' ),
  /* the end */
);
