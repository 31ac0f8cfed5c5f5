<?php
// GatewayWorker: register, gateway and business worker; with `echo` in place of `gateway` Workerman alone.
// php gateway.php start KIND FOLDER PORT WORKERS RUN_FOLDER; ports PORT+1 to PORT+9 are its own.
use GatewayWorker\{BusinessWorker, Gateway, Register};
use GatewayWorker\Lib\Gateway as Clients;
use Workerman\Worker;

[, , $kind, $folder, $port, $workers, $dir] = $argv;

if (is_file("$folder/vendor/autoload.php")) {
    require "$folder/vendor/autoload.php";
} else { // the sources of the packages side by side
    spl_autoload_register(function ($class) use ($folder) {
        $sources = [['GatewayWorker\\', 'GatewayWorker'], ['Workerman\\Coroutine\\', 'coroutine'],
                    ['Workerman\\', 'workerman'], ['Workerman\\', 'coroutine']];
        foreach ($sources as [$prefix, $source]) {
            $file = "$folder/$source/src/" . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (str_starts_with($class, $prefix) && is_file($file)) {
                require $file;
                return;
            }
        }
    });
}

class Events
{
    public static function onMessage($client, $message)
    {
        if ($message === 'sub') {
            Clients::joinGroup($client, 'ch');
            Clients::sendToClient($client, 'ok');
        } elseif (str_starts_with($message, 'pub:')) {
            Clients::sendToGroup('ch', substr($message, 4));
        } elseif (str_starts_with($message, '{"op":"auth"')) {
            Clients::bindUid($client, 1);
            Clients::sendToClient($client, 'ok');
        } else {
            Clients::sendToClient($client, $message);
        }
    }
}

function start_gateway($port, $workers)
{
    $registerAddress = '127.0.0.1:' . ($port + 1);
    new Register("text://$registerAddress");
    $gateway = new Gateway("websocket://127.0.0.1:$port", ['socket' => ['backlog' => 4096]]);
    $gateway->lanIp = '127.0.0.1';
    $gateway->startPort = $port + 2;
    $business = new BusinessWorker();
    $business->eventHandler = Events::class;
    foreach ([$gateway, $business] as $worker) {
        $worker->count = $workers;
        $worker->registerAddress = $registerAddress;
    }
}

function start_echo($port, $workers)
{
    $worker = new Worker("websocket://127.0.0.1:$port", ['socket' => ['backlog' => 4096]]);
    $worker->count = $workers;
    $worker->onMessage = fn($connection, $data) => $connection->send($data);
}

Worker::$pidFile = "$dir/pid";
Worker::$logFile = "$dir/log";
Worker::$statusFile = "$dir/status";
"start_$kind"((int) $port, (int) $workers);
Worker::runAll();
