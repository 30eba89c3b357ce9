def test_the_documentation_page_loads_nothing_from_elsewhere(client):
    page = client.get("/api/docs/").content.decode()

    assert "swagger-ui" in page
    assert "https://" not in page


def test_every_operation_says_which_errors_it_answers(client):
    schema = client.get("/api/schema/?format=json").json()

    assert "/api/v1/payments/" in schema["paths"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"401", "403", "429"} <= set(answers), f"{method} {path}"
            assert "application/problem+json" in answers["401"]["content"]
