<?php
/**
 * Plugin Name: Keywell for WooCommerce
 * Description: Reports paid orders to Keywell, and shows their licenses in My Account and in e-mails.
 * Version: 1.0.0
 * Requires at least: 6.4
 * Requires PHP: 7.4
 * Requires Plugins: woocommerce
 * License: MIT
 */

defined('ABSPATH') || exit;

const KEYWELL_CODES = '_keywell_codes';
const KEYWELL_LINK = '_keywell_order_url';
const KEYWELL_SENT = '_keywell_reported';
// Minutes between attempts to report an order. The last one repeats until Keywell has it.
const KEYWELL_DELAYS = [1, 5, 15, 60, 360];

// Settings

add_action('admin_init', 'keywell_register_settings');
add_action('admin_menu', 'keywell_add_page');

function keywell_settings(): array
{
    return [
        'keywell_url' => ['URL of the connection', 'Keywell shows it under Shops, such as https://keys.example.com/in/…/.', 'url'],
        'keywell_secret' => ['Signing secret', 'Keywell shows it once, next to the URL.', 'password'],
        'keywell_api_key' => ['API key', 'With the scope orders. Shows licenses here; without it, only e-mails have them.', 'password'],
        'keywell_prefix' => ['Prefix of order numbers', 'As in the connection’s settings. Usually empty.', 'text'],
    ];
}

function keywell_register_settings(): void
{
    foreach (array_keys(keywell_settings()) as $name) {
        register_setting('keywell', $name, ['sanitize_callback' => $name === 'keywell_url' ? 'esc_url_raw' : 'sanitize_text_field']);
    }
}

function keywell_add_page(): void
{
    add_submenu_page('woocommerce', 'Keywell', 'Keywell', 'manage_woocommerce', 'keywell', 'keywell_show_page');
}

function keywell_show_page(): void
{
    echo '<div class="wrap"><h1>Keywell</h1><form method="post" action="options.php">';
    settings_fields('keywell');
    echo '<table class="form-table">';
    foreach (keywell_settings() as $name => [$label, $help, $type]) {
        printf(
            '<tr><th><label for="%1$s">%2$s</label></th><td><input id="%1$s" name="%1$s" type="%3$s" class="regular-text" autocomplete="off" value="%4$s"><p class="description">%5$s</p></td></tr>',
            esc_attr($name),
            esc_html($label),
            esc_attr($type),
            esc_attr(get_option($name, '')),
            esc_html($help)
        );
    }
    echo '</table>';
    submit_button();
    echo '</form></div>';
}

// Reporting orders. Before WooCommerce sends its e-mails, so that these can have the licenses.

foreach (['processing', 'completed', 'refunded', 'cancelled'] as $keywell_status) {
    add_action("woocommerce_order_status_$keywell_status", 'keywell_report', 1);
}
add_action('woocommerce_order_partially_refunded', 'keywell_report', 1);
add_action('keywell_report_again', 'keywell_report', 10, 2);

/** Report an order as it is now. If Keywell can't be reached, WordPress tries again later. */
function keywell_report($order_id, $attempt = 0): void
{
    $url = get_option('keywell_url', '');
    if ($url === '' || !wc_get_order($order_id)) {
        return;
    }
    // The customer who pays may not read orders of the REST API. WooCommerce's own webhooks change the user for this.
    add_filter('woocommerce_rest_check_permissions', '__return_true');
    $body = wp_json_encode(wc()->api->get_endpoint_data("/wc/v3/orders/$order_id"));
    remove_filter('woocommerce_rest_check_permissions', '__return_true');
    $signature = base64_encode(hash_hmac('sha256', $body, get_option('keywell_secret', ''), true));
    $answer = wp_remote_post($url, [
        'timeout' => 10,
        'redirection' => 0,
        'headers' => [
            'Content-Type' => 'application/json',
            'X-WC-Webhook-Topic' => 'order.updated',
            'X-WC-Webhook-Signature' => $signature,
        ],
        'body' => $body,
    ]);
    $status = is_wp_error($answer) ? 0 : wp_remote_retrieve_response_code($answer);
    if ($status >= 200 && $status < 300) {
        keywell_remember($order_id, KEYWELL_SENT, gmdate('c'));
        return;
    }
    $minutes = KEYWELL_DELAYS[min($attempt, count(KEYWELL_DELAYS) - 1)];
    wp_schedule_single_event(time() + 60 * $minutes, 'keywell_report_again', [$order_id, $attempt + 1]);
}

function keywell_remember($order_id, string $name, string $value): void
{
    $order = wc_get_order($order_id);
    $order->update_meta_data($name, $value);
    $order->save_meta_data();
}

// Showing licenses

add_action('woocommerce_order_details_after_order_table', 'keywell_show_in_account');
add_action('woocommerce_email_after_order_table', 'keywell_show_in_email', 10, 3);

/** The licenses of a paid order: saved by Keywell, or read from its API. */
function keywell_codes($order): array
{
    if (!$order->is_paid()) {
        return [];
    }
    $saved = (string) $order->get_meta(KEYWELL_CODES);
    if ($saved !== '') {
        return explode("\n", $saved);
    }
    $name = 'keywell_codes_' . $order->get_id();
    $codes = get_transient($name);
    if (!is_array($codes)) {
        $found = keywell_read($order);
        $codes = [];
        foreach ($found['items'] ?? [] as $item) {
            $codes = array_merge($codes, array_column($item['activation_codes'] ?? [], 'code'));
        }
        $waiting = array_diff(array_column($found['items'] ?? [], 'fulfillment'), ['done', 'not_ours']);
        if ($codes && !$waiting) {
            set_transient($name, $codes, 10 * MINUTE_IN_SECONDS);
        }
    }
    return $codes;
}

function keywell_read($order): array
{
    $key = get_option('keywell_api_key', '');
    $parts = wp_parse_url(get_option('keywell_url', ''));
    if ($key === '' || empty($parts['host'])) {
        return [];
    }
    $origin = $parts['scheme'] . '://' . $parts['host'] . (isset($parts['port']) ? ':' . $parts['port'] : '');
    $number = rawurlencode(get_option('keywell_prefix', '') . $order->get_order_number());
    $answer = wp_remote_get("$origin/api/v1/orders/$number/", [
        'timeout' => 5,
        'redirection' => 0,
        'headers' => ['Authorization' => "Bearer $key"],
    ]);
    if (is_wp_error($answer) || wp_remote_retrieve_response_code($answer) !== 200) {
        return [];
    }
    $found = json_decode(wp_remote_retrieve_body($answer), true) ?: [];
    // Another shop's order may have the same number.
    $is_own = strcasecmp($found['email'] ?? '', (string) $order->get_billing_email()) === 0;
    return $is_own ? $found : [];
}

function keywell_show_in_account($order): void
{
    if ($codes = keywell_codes($order)) {
        echo '<section class="keywell"><h2>Your licenses</h2><ul>';
        foreach ($codes as $code) {
            printf('<li><code>%s</code></li>', esc_html($code));
        }
        echo '</ul></section>';
    }
}

function keywell_show_in_email($order, $sent_to_admin = false, $plain_text = false): void
{
    // The shop's own copies don't need them.
    if ($sent_to_admin) {
        return;
    }
    if (!$plain_text) {
        keywell_show_in_account($order);
    } elseif ($codes = keywell_codes($order)) {
        echo "\nYour licenses:\n" . implode("\n", $codes) . "\n";
    }
}
