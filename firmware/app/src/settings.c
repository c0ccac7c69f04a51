#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/settings/settings.h>

LOG_MODULE_REGISTER(rtloop_settings);

device_settings settings = {
    .name = CONFIG_APP_NAME,
    .command_timeout_ms = CONFIG_APP_COMMAND_TIMEOUT_MS,
    .limit_percent = 100,
};

#ifdef CONFIG_SETTINGS

static void take_number(const char *name, const char *text, uint32_t min, uint32_t max,
                        uint32_t *out) {
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < min || value > max) {
        LOG_ERR("rtloop/%s is \"%s\": give %u to %u", name, text, min, max);
    } else {
        *out = (uint32_t)value;
    }
}

static int on_setting(const char *name, size_t size, settings_read_cb read, void *source) {
    char text[RTL_NAME_SIZE] = {0};
    if (size >= sizeof text || read(source, text, size) < 0) {
        LOG_ERR("rtloop/%s is not a text of at most %u bytes", name, RTL_NAME_SIZE - 1u);
        return -EINVAL;
    }
    if (settings_name_steq(name, "name", NULL)) {
        memcpy(settings.name, text, sizeof text);
    } else if (settings_name_steq(name, "timeout_ms", NULL)) {
        take_number(name, text, 1, CONFIG_APP_COMMAND_TIMEOUT_MAX_MS, &settings.command_timeout_ms);
    } else if (settings_name_steq(name, "limit_percent", NULL)) {
        take_number(name, text, 1, 100, &settings.limit_percent);
    } else {
        LOG_ERR("rtloop/%s is not known: name, timeout_ms, limit_percent are", name);
        return -ENOENT;
    }
    return 0;
}

SETTINGS_STATIC_HANDLER_DEFINE(rtloop, "rtloop", NULL, on_setting, NULL, NULL);

#endif

void settings_start(void) {
#ifdef CONFIG_SETTINGS
    if (settings_subsys_init() != 0 || settings_load_subtree("rtloop") != 0) {
        LOG_ERR("the settings cannot be read; going on with the defaults");
    }
#endif
    for (size_t i = 0; i < plant.n_command; ++i) {
        settings.command_min[i] = plant.command_min[i] * (float)settings.limit_percent / 100.0f;
        settings.command_max[i] = plant.command_max[i] * (float)settings.limit_percent / 100.0f;
    }
}
