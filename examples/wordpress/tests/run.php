<?php
// Tests of the plugin. WordPress and WooCommerce are stand-ins that record what the plugin does.

define('ABSPATH', __DIR__);
define('MINUTE_IN_SECONDS', 60);

$actions = $filters = $options = $orders = $posts = $gets = $scheduled = $transients = [];
$answers = ['post' => 200, 'get' => 200, 'body' => '{}'];

function add_action($hook, $callback, $priority = 10, $count = 1) { global $actions; $actions[$hook][] = [$callback, $priority, $count]; }
function do_action($hook, ...$arguments) { global $actions; foreach ($actions[$hook] ?? [] as [$callback, , $count]) { $callback(...array_slice($arguments, 0, $count)); } }
function get_option($name, $default = false) { global $options; return $options[$name] ?? $default; }
function register_setting($group, $name, $options = []) { global $registered; $registered[] = $name; }
function add_submenu_page(...$arguments) { global $menu; $menu = $arguments; }
function settings_fields($group) { echo "<input type=\"hidden\" name=\"option_page\" value=\"$group\">"; }
function submit_button() { echo '<button>Save</button>'; }
function esc_attr($text) { return htmlspecialchars($text, ENT_QUOTES); }
function esc_html($text) { return htmlspecialchars($text, ENT_QUOTES); }
function wp_json_encode($value) { return json_encode($value); }
function wp_parse_url($url) { return parse_url($url); }
function is_wp_error($answer) { return $answer === null; }
function wp_remote_retrieve_response_code($answer) { return $answer['status']; }
function wp_remote_retrieve_body($answer) { return $answer['body']; }
function get_transient($name) { global $transients; return $transients[$name] ?? false; }
function set_transient($name, $value, $seconds) { global $transients; $transients[$name] = $value; }
function wp_schedule_single_event($time, $hook, $arguments) { global $scheduled; $scheduled[] = [$time, $hook, $arguments]; }
function wc_get_order($id) { global $orders; return $orders[$id] ?? false; }
function add_filter($hook, $callback) { global $filters; $filters[$hook] = $callback; }
function remove_filter($hook, $callback) { global $filters; unset($filters[$hook]); }
function wc() { return (object) ['api' => new class { function get_endpoint_data($path) { global $filters; return isset($filters['woocommerce_rest_check_permissions']) ? ['id' => (int) basename($path), 'status' => 'processing'] : ['code' => 'woocommerce_rest_cannot_view']; } }]; }
function wp_remote_post($url, $request) { global $posts, $answers; $posts[] = [$url, $request]; return $answers['post'] ? ['status' => $answers['post'], 'body' => ''] : null; }
function wp_remote_get($url, $request) { global $gets, $answers; $gets[] = [$url, $request]; return $answers['get'] ? ['status' => $answers['get'], 'body' => $answers['body']] : null; }

class Order
{
    public $meta = [];
    public $paid = true;

    public function __construct(public int $id) {}
    public function get_id() { return $this->id; }
    public function get_billing_email() { return 'ada@example.com'; }
    public function get_order_number() { return "#$this->id"; }
    public function is_paid() { return $this->paid; }
    public function get_meta($name) { return $this->meta[$name] ?? ''; }
    public function update_meta_data($name, $value) { $this->meta[$name] = $value; }
    public function save_meta_data() {}
}

function check($name, $expected, $found)
{
    if ($expected !== $found) {
        fwrite(STDERR, "$name: expected " . var_export($expected, true) . ', found ' . var_export($found, true) . "\n");
        exit(1);
    }
    echo "ok: $name\n";
}

function shown($hook, ...$arguments)
{
    ob_start();
    do_action($hook, ...$arguments);
    return ob_get_clean();
}

require __DIR__ . '/../keywell.php';

$orders[727] = $order = new Order(727);
do_action('woocommerce_order_status_processing', 727);
check('nothing is sent before it is set up', [], $posts);

$options = ['keywell_url' => 'https://keys.example.com/in/token/', 'keywell_secret' => 'secret', 'keywell_api_key' => 'kw_1'];
do_action('woocommerce_order_status_processing', 727);
[$url, $request] = $posts[0];
check('a paid order is posted to the connection', 'https://keys.example.com/in/token/', $url);
check('the body is the order of the REST API', '{"id":727,"status":"processing"}', $request['body']);
check('although the customer may not read it', [], $filters);
check('it is signed', base64_encode(hash_hmac('sha256', $request['body'], 'secret', true)), $request['headers']['X-WC-Webhook-Signature']);
check('it is reported before the e-mails', 1, $actions['woocommerce_order_status_processing'][0][1]);
check('the order knows that it was reported', true, $order->meta['_keywell_reported'] !== '');
check('nothing is repeated', [], $scheduled);

foreach (['completed', 'refunded', 'cancelled'] as $status) {
    do_action("woocommerce_order_status_$status", 727);
}
do_action('woocommerce_order_partially_refunded', 727, 12);
check('later changes are reported, too', 5, count($posts));

$answers['post'] = 0;
do_action('woocommerce_order_status_processing', 727);
[$time, $hook, $arguments] = $scheduled[0];
check('a lost report is repeated', ['keywell_report_again', [727, 1]], [$hook, $arguments]);
check('after a minute', true, $time > time() + 50 && $time <= time() + 60);
$answers['post'] = 503;
do_action('keywell_report_again', 727, 9);
check('and again, at last every six hours', true, $scheduled[1][0] > time() + 6 * 3600 - 10);

$answers['body'] = json_encode(['email' => 'Ada@example.com', 'items' => [
    ['fulfillment' => 'waiting', 'activation_codes' => []],
    ['fulfillment' => 'done', 'activation_codes' => [['code' => 'AAAA<1>'], ['code' => 'BBBB-2']]],
]]);
$page = shown('woocommerce_order_details_after_order_table', $order);
check('licenses are shown in My Account, escaped', true, strpos($page, '<code>AAAA&lt;1&gt;</code>') !== false && strpos($page, 'BBBB-2') !== false);
check('the order is named by its number', 'https://keys.example.com/api/v1/orders/%23727/', $gets[0][0]);
check('with the API key', 'Bearer kw_1', $gets[0][1]['headers']['Authorization']);
check('while some are missing, none are kept', [], $transients);

$answers['body'] = json_encode(['email' => 'ada@example.com', 'items' => [['fulfillment' => 'done', 'activation_codes' => [['code' => 'BBBB-2']]]]]);
$mail = shown('woocommerce_email_after_order_table', $order, false, true);
check('and in e-mails', "\nYour licenses:\nBBBB-2\n", $mail);
check('once complete, they are kept for a while', ['BBBB-2'], $transients['keywell_codes_727']);
check('the shop’s own copy has none', '', shown('woocommerce_email_after_order_table', $order, true, true));

$transients = [];
$answers['body'] = json_encode(['email' => 'eve@example.com', 'items' => [['fulfillment' => 'done', 'activation_codes' => [['code' => 'EEEE-5']]]]]);
check('another shop’s order with the same number is not shown', '', shown('woocommerce_order_details_after_order_table', $order));

$order->meta['_keywell_codes'] = "CCCC-3\nDDDD-4";
check('codes that Keywell saved come first', true, strpos(shown('woocommerce_order_details_after_order_table', $order), 'DDDD-4') !== false);
$order->paid = false;
check('an order that isn’t paid shows none', '', shown('woocommerce_order_details_after_order_table', $order));

$transients = $order->meta = [];
$order->paid = true;
$answers['get'] = 0;
check('a server that is down shows none', '', shown('woocommerce_order_details_after_order_table', $order));

do_action('admin_init');
check('its settings are registered', ['keywell_url', 'keywell_secret', 'keywell_api_key', 'keywell_prefix'], $registered);
do_action('admin_menu');
check('under WooCommerce, for shop managers', ['woocommerce', 'manage_woocommerce'], [$menu[0], $menu[3]]);
ob_start();
keywell_show_page();
check('the settings page escapes what was entered', true, strpos(ob_get_clean(), 'type="password"') !== false);
